"""The graphs of SavedModels: the part that a signature runs, and the tf.Example features it reads."""
