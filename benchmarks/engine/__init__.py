"""Our training steps beside those of PyTorch, JAX and scikit-learn: ``make bench-engine``."""
