"""The sources of a model: Python files, Keras files and SavedModels. Each yields the signatures to export."""
