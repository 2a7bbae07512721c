"""Plausible wrong answers for chapter 6. Named exercise__mistake__check_that_must_fail."""

import numpy as np
from scipy import stats


def _svd(matrix):
    return np.linalg.svd(matrix, full_matrices=False)


def u0__right_vector__direction(matrix):
    return _svd(matrix)[2][0]


def u0__index_1__direction(matrix):
    return _svd(matrix)[0][:, 1]


def u0__with_strength__direction(matrix):
    u, s, v = _svd(matrix)
    return u[:, 0] * s[0] * np.sign(v[0].sum())


def u0__centred__direction(matrix):
    u, _, v = _svd(matrix - matrix.mean(axis=0))
    return u[:, 0] * np.sign(v[0].sum())


def u0__raw_sign__sign(matrix):
    return _svd(matrix)[0][:, 0]


def u0__sum_of_v__sign(matrix):
    u, _, v = _svd(matrix)
    return u[:, 0] if v[0].sum() > 0 else -u[:, 0]


def u0__away_from_the_mean__sign(matrix):
    u, _, v = _svd(matrix)
    return u[:, 0] if v[0] @ matrix.mean(axis=0) < 0 else -u[:, 0]


def u0__first_word_above_0__sign(matrix):
    u = _svd(matrix)[0][:, 0]
    return u * np.sign(u[0])


def u0__absolute__direction(matrix):
    return np.abs(_svd(matrix)[0][:, 0])


def u0_idf_correlation__spearman__all_words(u0, vocabulary, idf):
    shared = [word for word in vocabulary if word in idf]
    return stats.spearmanr([u0[vocabulary[word]] for word in shared], [idf[word] for word in shared]).statistic


def u0_idf_correlation__no_sign__all_words(u0, vocabulary, idf):
    shared = [word for word in vocabulary if word in idf]
    return abs(np.corrcoef([u0[vocabulary[word]] for word in shared], [idf[word] for word in shared])[0, 1])


def u0_idf_correlation__not_matched__all_words(u0, vocabulary, idf):
    values = [idf[word] for word in vocabulary if word in idf]
    return np.corrcoef(u0[: len(values)], values)[0, 1]


def u0_idf_correlation__zeros__missing_words(u0, vocabulary, idf):
    return np.corrcoef([u0[place] for place in vocabulary.values()], [idf.get(word, 0) for word in vocabulary])[0, 1]


def u0_idf_correlation__with_pieces__missing_words(u0, vocabulary, idf):
    pairs = [
        (u0[place], idf[word.removeprefix("##")])
        for word, place in vocabulary.items()
        if word.removeprefix("##") in idf
    ]
    return np.corrcoef(np.array(pairs).T)[0, 1]


def edit_u0__every_word__other_rows(matrix, u0, s0, v0, token_ids, s):
    return matrix + s * np.std(u0) * s0 * v0


def edit_u0__in_place__other_rows(matrix, u0, s0, v0, token_ids, s):
    matrix[token_ids] += s * np.std(u0) * s0 * v0
    return matrix


def _edit(matrix, token_ids, change):
    edited = matrix.copy()
    edited[token_ids] += change
    return edited


def edit_u0__no_strength__edited_rows(matrix, u0, s0, v0, token_ids, s):
    return _edit(matrix, token_ids, s * np.std(u0) * v0)


def edit_u0__no_unit__edited_rows(matrix, u0, s0, v0, token_ids, s):
    return _edit(matrix, token_ids, s * s0 * v0)


def edit_u0__set__edited_rows(matrix, u0, s0, v0, token_ids, s):
    return _edit(matrix, token_ids, (s * np.std(u0) - u0[token_ids])[:, None] * s0 * v0)


def edit_u0__whole_row__edited_rows(matrix, u0, s0, v0, token_ids, s):
    edited = matrix.copy()
    edited[token_ids] *= s
    return edited


def random_edit__not_normalised__same_length(matrix, u0, s0, token_ids, s, rng):
    return _edit(matrix, token_ids, s * np.std(u0) * s0 * rng.normal(size=matrix.shape[1]))


def random_edit__no_strength__same_length(matrix, u0, s0, token_ids, s, rng):
    direction = rng.normal(size=matrix.shape[1])
    return _edit(matrix, token_ids, s * np.std(u0) * direction / np.linalg.norm(direction))


def random_edit__every_word__same_length(matrix, u0, s0, token_ids, s, rng):
    direction = rng.normal(size=matrix.shape[1])
    return matrix + s * np.std(u0) * s0 * direction / np.linalg.norm(direction)


def random_edit__own_directions__one_direction(matrix, u0, s0, token_ids, s, rng):
    directions = rng.normal(size=(len(token_ids), matrix.shape[1]))
    return _edit(
        matrix, token_ids, s * np.std(u0) * s0 * directions / np.linalg.norm(directions, axis=1, keepdims=True)
    )


def random_edit__own_generator__one_direction(matrix, u0, s0, token_ids, s, rng):
    direction = np.random.default_rng(0).normal(size=matrix.shape[1])
    return _edit(matrix, token_ids, s * np.std(u0) * s0 * direction / np.linalg.norm(direction))


def _left(value, design):
    return value - design @ np.linalg.lstsq(design, value, rcond=None)[0]


def partial_correlation__plain__centred(x, y, control):
    return np.corrcoef(x, y)[0, 1]


def partial_correlation__one_side__centred(x, y, control):
    return np.corrcoef(_left(x, np.column_stack([np.ones_like(x), control])), y)[0, 1]


def partial_correlation__no_denominator__centred(x, y, control):
    r = np.corrcoef([x, y, control])
    return r[0, 1] - r[0, 2] * r[1, 2]


def partial_correlation__subtracted__centred(x, y, control):
    return np.corrcoef(x - control, y - control)[0, 1]


def partial_correlation__no_intercept__not_centred(x, y, control):
    return np.corrcoef(_left(x, control[:, None]), _left(y, control[:, None]))[0, 1]


def _pushed(matrix, u0, s0, token_ids, s, direction):
    edited = matrix.copy()
    edited[token_ids] += s * np.std(u0) * s0 * direction / np.linalg.norm(direction)
    return edited


def random_edit__between_0_and_1__every_direction(matrix, u0, s0, token_ids, s, rng):
    return _pushed(matrix, u0, s0, token_ids, s, rng.random(matrix.shape[1]))


def random_edit__mean_1__every_direction(matrix, u0, s0, token_ids, s, rng):
    return _pushed(matrix, u0, s0, token_ids, s, rng.normal(1, 1, matrix.shape[1]))


def random_edit__sum_taken_off__every_direction(matrix, u0, s0, token_ids, s, rng):
    direction = rng.normal(size=matrix.shape[1])
    direction -= direction.mean()
    return _edit(matrix, token_ids, s * np.std(u0) * s0 * direction / np.linalg.norm(direction))


def random_edit__one_sign__every_direction(matrix, u0, s0, token_ids, s, rng):
    return _pushed(matrix, u0, s0, token_ids, s, -np.abs(rng.normal(size=matrix.shape[1])))


def random_edit__one_axis__every_direction(matrix, u0, s0, token_ids, s, rng):
    return _pushed(
        matrix, u0, s0, token_ids, s, rng.choice([-1, 1]) * np.eye(matrix.shape[1])[rng.integers(matrix.shape[1])]
    )


def random_edit__a_box__every_direction(matrix, u0, s0, token_ids, s, rng):
    return _pushed(matrix, u0, s0, token_ids, s, rng.uniform(-1, 1, matrix.shape[1]))


def random_edit__unequal_spread__every_direction(matrix, u0, s0, token_ids, s, rng):
    d = matrix.shape[1]
    return _pushed(matrix, u0, s0, token_ids, s, rng.normal(0, np.linspace(0.2, 2, d)))
