"""Models, versions, signatures and tensors: values and file formats. Nothing here prints, serves or loads TensorFlow."""
