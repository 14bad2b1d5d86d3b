"""Maquette: every family of generative model makes every medium from your own files.

The five verbs are `train`, `sample`, `evaluate`, `compare` and `serve`; `load` opens a run or a bundle. They are
imported when first used, so that `import maquette` and `maquette --help` do not wait for torch.
"""

__version__ = "0.1.0"
