"""What Ansible loads: thin plugins, each calling one operation."""
