"""Plugins that Ansible finds by the name of their file."""
