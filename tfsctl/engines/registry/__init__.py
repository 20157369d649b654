"""The servers that tfsctl started: records, discovery, logs and resource usage."""
