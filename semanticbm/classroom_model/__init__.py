"""The classroom model: how the subject of the book was made and examined.

`data` reads the training pairs and keeps every query and text of the examinations out of them; `training` fine-tunes the
backbone with LoRA; `examination` measures the result on queries that took no part; `card` writes the model card from the
files that both left behind.
"""
