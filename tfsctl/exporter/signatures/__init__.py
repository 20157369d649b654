"""Changes to the signatures of a model before they are written: names, batch size, tf.Examples and encoded images."""
