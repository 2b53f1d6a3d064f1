"""Autoencoders that run operators without a rule or a gradient, and these operators."""

REFUSED = {
    "k-sparse": r"aten\.topk\.default in Score\.autoencoder\.model",
    "max pooling and unpooling": r"aten\.index_put\.default in Score\.autoencoder\.model\.unpool",
    "vector quantised": r"aten\.index\.Tensor in Score\.autoencoder\.model",
}
