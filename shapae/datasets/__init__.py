"""Gene expression of real cells, and synthetic tables and autoencoders with known ground truth."""

from shapae.datasets.faults import Faults, sensors, transactions
from shapae.datasets.genes import GeneModules, Genes, gene_modules, pbmc68k
from shapae.datasets.synthetic import BlockAutoencoder, LinearAutoencoder, block_autoencoder, linear_autoencoder

__all__ = [
    "BlockAutoencoder",
    "Faults",
    "GeneModules",
    "Genes",
    "LinearAutoencoder",
    "block_autoencoder",
    "gene_modules",
    "linear_autoencoder",
    "pbmc68k",
    "sensors",
    "transactions",
]


def __dir__() -> list[str]:  # tab completion shows the public names
    return __all__
