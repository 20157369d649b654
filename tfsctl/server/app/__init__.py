"""The model server put together: listeners, the application, and its start and end."""
