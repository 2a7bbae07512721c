"""Exercises for chapter 6, IDF in the embedding matrix: book/06-idf-in-u0.qmd, #sec-idf.

Replace each `raise NotImplementedError` by your code, then run `semanticbm check`. No exercise needs another one.
"""

import numpy as np


# 6.1  difficulty 2 of 5, 20 minutes, 2 points
def u0(matrix: np.ndarray) -> np.ndarray:
    """U0 of each word: how far it lies along the strongest direction v0 of the matrix.

    Goal: the singular value decomposition, with a sign that does not depend on the library.

        matrix = sum over k of  S_k u_k v_k^T,  strongest first; turn u_0 and v_0 so that v_0 . m > 0

    matrix: the raw word embeddings, float [vocabulary, d_model]; m is the mean of its rows.
    Returns u_0, float [vocabulary], of length 1.
    Worked value: u0(np.array([[3.0, 0.0], [4.0, 0.0]])) = [0.6, 0.8].
    """
    raise NotImplementedError("Exercise 6.1: write u0")


# 6.2  difficulty 2 of 5, 15 minutes, 2 points
def u0_idf_correlation(u0: np.ndarray, vocabulary: dict[str, int], idf: dict[str, float]) -> float:
    """Pearson correlation of U0 and IDF over the words that have both.

    Goal: correlate over the right words. A word without an IDF is left out; a piece such as "##ing" is no word.

    u0: float [vocabulary]. vocabulary: {piece: token id}. idf: {word: value}. Returns one number from -1 to 1.
    Worked value: u0 [0.1, 0.2, 0.3] for words a, b, c with IDF 3, 2, 1 gives -1.0.
    """
    raise NotImplementedError("Exercise 6.2: write u0_idf_correlation")


# 6.3  difficulty 3 of 5, 20 minutes, 2 points
def edit_u0(
    matrix: np.ndarray, u0: np.ndarray, s0: float, v0: np.ndarray, token_ids: list[int], s: float
) -> np.ndarray:
    """Word embeddings in which U0 of some words is raised by s standard deviations of U0.

    Goal: move words along v0 and leave everything else as it is.

        new row = row + s std(U0) S0 v0

    matrix: float [vocabulary, d_model]. u0, s0, v0: its first component. token_ids: the words to move.
    Returns a new float array [vocabulary, d_model]; the given matrix stays as it is.
    Worked value: with std(U0) = 0.1, S0 = 10, v0 = [1, 0] and s = 2 a row [5, 5] becomes [7, 5].
    """
    raise NotImplementedError("Exercise 6.3: write edit_u0")


# 6.4  difficulty 3 of 5, 20 minutes, 2 points
def random_edit(
    matrix: np.ndarray, u0: np.ndarray, s0: float, token_ids: list[int], s: float, rng: np.random.Generator
) -> np.ndarray:
    """The control for exercise 6.3: a push of the same length along one random direction.

    Goal: any push moves a score. Only an effect beyond that of random pushes speaks for U0.

    rng: draws the direction, once for all words. The rest is as in 6.3. Returns a new float array [vocabulary, d_model].
    Worked value: with std(U0) = 0.1, S0 = 10 and s = 2 each edited row moves by length 2, all in the same direction.
    """
    raise NotImplementedError("Exercise 6.4: write random_edit")


# 6.5  difficulty 3 of 5, 20 minutes, 2 points
def partial_correlation(x: np.ndarray, y: np.ndarray, control: np.ndarray) -> float:
    """Pearson correlation of x and y after a linear fit on the control is taken off both.

    Goal: in BERT's vocabulary a higher token id is a rarer word. What is left of a correlation without that?

    Three float arrays [word]. Returns one number from -1 to 1.
    Worked value: if y is an exact line of x, the result is 1 or -1, whatever the control.
    """
    raise NotImplementedError("Exercise 6.5: write partial_correlation")
