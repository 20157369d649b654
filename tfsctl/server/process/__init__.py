"""The process itself: logs, memory, CPU and memory limits, open files, thread priorities, shutdown."""
