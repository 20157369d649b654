"""The nouns of the field: models, versions, signatures, tensors. Nothing here prints, serves, or loads TensorFlow."""
