"""The parts that touch the outside: libvirt, SSH, programs, the clock, ansible-runner."""
