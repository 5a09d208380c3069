"""The Virtual Machine Manager of a virtual-application service, driven through Ansible."""

__version__ = "0.1.0"
