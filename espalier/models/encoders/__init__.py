"""Encoders of media: from pixels and samples to features, which a projector takes to a model's embeddings."""
