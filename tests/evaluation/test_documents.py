"""What the generators hide must be there, once, and alone answer its question; a seed gives one text."""
import json
import random
import re

import documents
import infinitebench
import needles
import pytest
import ruler

CHARACTERS = 16_000  # about 4,096 tokens
SEEDS = range(3)


def ruler_document(task, seed, characters=CHARACTERS):
    return ruler.TASKS[task](random.Random(seed), characters)


def the_question(document):
    (question,) = document.questions.values()
    return question


@pytest.mark.parametrize("task", ruler.TASKS)
def test_a_seed_gives_one_document_and_another_seed_another(task):
    first, again, other = (ruler_document(task, seed) for seed in (1, 1, 2))
    assert first == again
    assert first.text != other.text
    assert the_question(first).answers != the_question(other).answers


@pytest.mark.parametrize("task", ruler.TASKS)
@pytest.mark.parametrize("characters", [5_000, 16_000, 60_000])
def test_a_task_is_about_as_long_as_asked(task, characters):
    length = len(ruler_document(task, 1, characters).text)
    assert abs(length - characters) < 0.1 * characters + 3_000  # the solved examples have a length of their own


@pytest.mark.parametrize("task", ruler.TASKS)
@pytest.mark.parametrize("seed", SEEDS)
def test_all_answers_stand_in_the_text_and_a_reply_that_names_them_scores_one(task, seed):
    document = ruler_document(task, seed)
    question = the_question(document)
    assert len(set(question.answers)) == len(question.answers)
    assert all(answer in document.text for answer in question.answers)
    assert not any(answer in question.prompt for answer in question.answers)
    assert question.score(" ".join(question.answers), question.answers) == 1
    assert question.score(question.prompt, question.answers) == 0


@pytest.mark.parametrize("task", [task for task in ruler.TASKS if task.startswith("niah")])
@pytest.mark.parametrize("seed", SEEDS)
def test_only_the_wanted_needles_answer_the_question(task, seed):
    document = ruler_document(task, seed)
    question = the_question(document)
    hidden = re.findall(r"The magic (?:number|uuid) of (\S+) is (\S+)\.\n", document.text)
    assert sorted(value for key, value in hidden if key in question.prompt) == sorted(question.answers)


def test_needles_are_as_many_as_the_task_says():
    def hidden(task):
        return len(re.findall(r"The magic (?:number|uuid) of", ruler_document(task, 1).text))

    assert [hidden(f"niah_single_{n}") for n in (1, 2, 3)] == [1, 1, 1]
    assert hidden("niah_multikey_1") == hidden("niah_multivalue") == hidden("niah_multiquery") == 4
    assert hidden("niah_multikey_2") > 300 and hidden("niah_multikey_3") > 100


@pytest.mark.parametrize("seed", SEEDS)
def test_following_the_variables_gives_the_answer(seed):
    document = ruler_document("variable_tracking", seed)
    question = the_question(document)
    wanted = re.search(r"value (\d+)\?", question.prompt).group(1)
    values = {}
    for name, given in re.findall(r"^VAR (\w+) = (?:VAR )?(\w+)$", document.text, re.MULTILINE):
        values[name] = values.get(given, given)  # in the order of the text: nothing is used before it is assigned
    assert [name for name, value in values.items() if value == wanted] == question.answers
    assert len(set(values.values())) == 2  # the solved example has a value of its own


@pytest.mark.parametrize("seed", SEEDS)
def test_counting_the_words_of_the_list_gives_the_answer(seed):
    document = ruler_document("common_words", seed)
    words = re.findall(r"\d+\. (\S+)", document.text.split("\n\n")[-1])
    counts = {word: words.count(word) for word in words}
    assert sorted(word for word, count in counts.items() if count == 30) == sorted(the_question(document).answers)
    assert set(counts.values()) == {3, 30}


@pytest.mark.parametrize("seed", SEEDS)
def test_counting_the_coded_words_gives_the_answer(seed):
    document = ruler_document("frequent_words", seed)
    words = document.text.split("\n\n")[-1].split()
    counts = {word: words.count(word) for word in set(words)}
    ranked = sorted(counts, key=counts.get, reverse=True)
    assert ranked[:4] == ["......", *the_question(document).answers]
    assert counts[ranked[3]] > counts[ranked[4]]


@pytest.mark.parametrize("seed", SEEDS)
def test_two_hops_lead_to_the_town(seed):
    document = ruler_document("qa_2", seed)
    question = the_question(document)
    pupil = re.search(r"teacher of (\w+)", question.prompt).group(1)
    (teacher,) = re.findall(rf"^The teacher of {pupil} was (\w+)\.$", document.text, re.MULTILINE)
    assert re.findall(rf"^{teacher} was born in the town of (\w+)\.$", document.text, re.MULTILINE) == question.answers
    assert teacher not in question.prompt


@pytest.mark.parametrize("filler", ["bible", "grass"])
def test_each_sentence_is_hidden_once_and_in_its_part_of_the_document(filler):
    document = needles.make_document(filler, 4, ["literal", "paraphrase"], "seed", CHARACTERS)
    keys = [question.answers[0] for name, question in document.questions.items() if name.endswith("literal")]
    assert [document.text.count(key) for key in keys] == [1] * 4
    parts = [int(4 * document.text.index(key) / len(document.text)) for key in keys]
    assert parts == [0, 1, 2, 3]


def test_a_paraphrase_has_no_word_of_the_sentence_but_its_subject():
    document = needles.make_document("bible", 1, ["paraphrase"], "seed", 1_000)
    ((name, question),) = document.questions.items()
    (sentence,) = re.findall(r"^The number of .*$", document.text, re.MULTILINE)
    content = set(re.findall(r"\w{4,}", sentence)) - {*question.answers, name.split(",")[0]}
    assert content and not content & set(re.findall(r"\w+", question.prompt))


@pytest.mark.parametrize("task", infinitebench.TASKS)
@pytest.mark.parametrize("asked", [1, 4])
def test_every_question_of_infinitebench_has_its_own_answer(task, asked):
    document = infinitebench.TASKS[task](asked, random.Random(1), CHARACTERS)
    answers = [question.answers[0] for question in document.questions.values()]
    prompts = [question.prompt for question in document.questions.values()]
    assert len(set(answers)) == len(set(prompts)) == asked
    assert all(answer in document.text for answer in answers)


def test_the_values_are_those_of_the_json_object():
    document = infinitebench.kv(3, random.Random(1), CHARACTERS)
    pairs = json.loads(document.text.split("\n\n")[1])
    for question in document.questions.values():
        assert pairs[re.search(r'Key: "(.*?)"', question.prompt).group(1)] == question.answers[0]


@pytest.mark.parametrize("reply, score", [(" 50122.\n", 1), (" 50,122", 1), (" a 50122", 1), (" 50122 7", 1),
                                          (" 5012", 0), (" 501220", 0), (" 7, not 50122", 0), ("", 0)])
def test_the_first_number_of_a_reply_decides(reply, score):
    assert documents.first_number_is(reply, ["50122"]) == score


def test_the_longest_document_fits_and_wastes_little():
    def build(characters):
        return "x" * (characters - characters % 40)

    for per_token in (1.5, 3.7):
        fitted = documents.longest(build, 4_000, lambda text: len(text) / per_token)
        assert 0.97 * 4_000 < len(fitted) / per_token <= 4_000
