"""How two answers are compared, and what they go on from."""
import random

import decoding


def answer(tokens, probability):
    return {"tokens_of_answer": list(tokens), "tops": [{token: probability} for token in tokens]}


def test_answers_are_alike_up_to_the_first_token_that_differs():
    alike, divergences = decoding.compared(answer("abcd", -0.5), answer("abxd", -0.5))
    assert alike == 2
    assert len(divergences) == 2  # of the second token and the third, which have the same tokens before them


def test_equal_answers_are_alike_to_their_end_and_do_not_diverge():
    alike, divergences = decoding.compared(answer("abcd", -0.5), answer("abcd", -0.5))
    assert alike == 4
    assert divergences == [0, 0, 0]
    assert min(decoding.compared(answer("abcd", -0.5), answer("abcd", -2.0))[1]) > 0.1


def test_prompts_begin_long_verses_of_all_parts_of_a_document():
    lines = [f"{number} " + "word " * 19 for number in range(100)] + ["short"]
    prompts = decoding.prompts_of(lines, 4, random.Random(1))
    assert [int(prompt.split()[0]) // 25 for prompt in prompts] == [0, 1, 2, 3]
    assert all(len(prompt.split()) == 10 for prompt in prompts)
