"""Data to learn from: generated sets, shipped sets, tables from files and frames; batches, splits and scales of them.

Everything random is a pure function of a seed or key. Nothing is fetched from anywhere.
"""

from backlit.core.lazy import lazily

_PLACES = {
    "dataset": "Dataset",
    "accepting": "as_dataset",
    "batching": "Batches batches batch_indices",
    "splitting": "split",
    "scaling": "Standardiser standardise",
    "tables": "load_csv",
    "frames": "from_frame",
    "logic": "xor and_ or_",
    "shapes": "moons circles spirals blobs",
    "regression": "curves",
    "digits": "Digits load_digits",
    "scaled_digits": "handwritten_digits",
    "characters": "Alphabet alphabet_of next_character windows",
    "invented": "names sentences",
}
__all__, __getattr__, __dir__ = lazily(__name__, _PLACES)
