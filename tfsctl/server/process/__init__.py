"""What belongs to the process: logs, memory, open files, thread priorities, shutdown."""
