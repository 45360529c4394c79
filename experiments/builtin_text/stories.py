"""Generated texts of many kinds: tales, letters, news, diaries, scenes, instructions, lists, lessons, portraits.

Each kind is a function from a world (who, where, when) to a text. They are small grammars: paragraphs choose among
sentences, sentences among clauses, clauses among the words of the place, so hardly a sentence occurs twice.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from builtin_text.world import World


def tale(w: World) -> str:
    """A short story in the third person: arrival, work, trouble, talk, remedy, end."""
    opening = w.tell(
        "Once upon a time there was a {trait} {people1} called {name}, who spent every {season} {place}.",
        "In the {season} of {year}, {name} came to work {place}. {He} was {a_trait} {people1}.",
        "{name} had been a {people1} for {number} days when this happened.",
        "It was a cold {day} in {month}. {name}, a {trait} {people1}, stood {place} and waited.",
        "Nobody {place} was as {trait} as {name}, the {people1}.",
        "When {name} was {few} years old, {his} {kin2} {name2} took {him} along for the first time. They met {place}.",
        "Everyone knew {name}. {He} lived {place} with {a_animal} and {few} books.",
        "The {weather} had lasted for {few} days, and {name} was still {place}.",
    )
    middle = w.tell_some(
        3,
        5,
        "{Sight}.",
        "{name} {deed}, and then {he} {deed}.",
        "In the morning {he} {deed}; in the evening {he} {deed}.",
        "{name2}, {his} {kin2}, {deed} and looked {feeling}.",
        "There was only {a_colour} {thing1} made of {material}, and nobody was allowed to touch it.",
        "{He} ate some {food}, because {he} was {feeling}.",
        "{Sight}, and {sight}.",
        "The other {people2} laughed, but {name} was {trait} and said nothing.",
        "From time to time {he} thought of {town}, where {his} {kin} lived.",
        "{name2} had promised to come at {hour} o'clock, but it was already {hour}.",
    )
    trouble = w.tell(
        "Then, {manner}, everything changed: {trouble1}.",
        "But on {day} {trouble1}.",
        "That night {trouble1}, and nobody knew what to do.",
        '"Have you heard?" {verb_said} {name2}. "They say that {trouble1}."',
        "At {hour} o'clock a {people3} ran in, out of breath. It was true: {trouble1}.",
        "{name} was just about to leave when {trouble1}.",
    )
    return "\n\n".join((f"{opening} {middle}", f"{trouble} {talk(w)}", _ending(w)))


def talk(w: World) -> str:
    """What is said about the trouble."""
    return w.tell_some(
        2,
        4,
        '"{Saying}," {verb_said} {name2} {manner}.',
        '"I am {feeling}," {verb_said} {name}. "Give me the {thing}, please."',
        '"What shall we do now?" asked {name2}. {name} did not answer. {He} {deed}.',
        '"It was not my fault," {verb_said} the {people4}, who was {feeling}.',
        '"We need {few} more {people5}s," {verb_said} {name}, "and a {size} {thing}."',
        "{name3} shook {his3} head. {He3} had seen this before, in {town}, in {year}.",
        '"In {season} it will be too late," {verb_said} {name3}.',
        "They talked until {hour} o'clock. {Sight}.",
        '"My {kin} always told me: {saying}," {name} {verb_said}.',
    )


def _ending(w: World) -> str:
    solved = w.tell(
        "In the end {name} {remedy1}.",
        "Nobody had an idea except {name2}. {He2} {remedy1}, and {name} helped {him2}.",
        "It took {few} hours. First they {deed}; then {name} {remedy1}.",
        "{name} closed {his} eyes and counted to {few}. Then {he} {remedy1}.",
        "{name} and {name2} did not give up: they {remedy1}.",
    )
    after = w.tell_some(
        1,
        3,
        "After that, {name} was never {feeling} again.",
        "{name2} was so {feeling} that {he2} gave {him} a {colour} {thing}.",
        "The {animal} slept through all of it.",
        "Since then, people {place} say: {saying}.",
        "{Sight}, as if nothing had happened.",
        "The next {season} {name} went to {town} and became a famous {people6}.",
        "They shared the {food} and went home through the {weather}.",
        "And the {thing1}? It is still {elsewhere}, under {a_size} heap of {material}.",
    )
    return f"{solved} {after}"


def letter(w: World) -> str:
    """A letter from one person to another."""
    head = w.tell("{town}, {date} {month} {year}", "{day}, {date} {month}", "{Place}, in {month} {year}")
    greeting = w.tell("Dear {name2},", "My dear {name2},", "Dear {kin2},", "To the {people1} {place}", "Hello {name2},")
    body = w.tell_some(
        4,
        7,
        "Thank you for the {thing}, which arrived on {day}.",
        "I am writing to you from a place you know well: I am {place} again.",
        "You would not believe what happened yesterday: {trouble}.",
        "So we {remedy}, and now everyone is {feeling}.",
        "Do you remember {name3}? {He3} is a {people} now and as {trait} as ever.",
        "The {weather} has not stopped for {few} weeks.",
        "Last {day} I {deed}, and {name3} {deed}.",
        "Please send me {few} pounds of {food} and a {colour} {thing}.",
        "Your {kin} asked me to tell you that {saying}.",
        "When you come in {month}, bring the {animal} with you.",
        "I have learned that {fact}. Did you know?",
        "{Sight} when I sat down to write this.",
        "I am sorry that I {deed} without asking you.",
    )
    closing = w.tell(
        "Yours sincerely,\n{name}",
        "With love,\n{name}",
        "Your {kin}\n{name}",
        "Best regards,\n{name}, {people2}",
        "{name}",
    )
    return f"{head}\n\n{greeting}\n\n{body}\n\n{closing}"


def news(w: World) -> str:
    """A short item of a newspaper."""
    title = w.tell(
        "{People1} saves the day",
        "{Trouble1}",
        "{number} visitors in one day",
        "New {thing1} for {town}",
        "{town}: {people1} missing since {day}",
        "{Weather} causes delays {place}",
    )
    body = w.tell_some(
        4,
        6,
        "On {day} morning {trouble1}, the police report.",
        'According to {name}, a {people1} from {town}, "{sight}" at the time.',
        '"{Saying}," the {people2} told this newspaper.',
        "About {number} people were {place} when it happened; {few} of them were hurt.",
        "The damage is put at {number},000 pounds.",
        "{name2}, {age}, who {deed} at that moment, was {feeling}.",
        "A spokesman for the {people3}s said that they {remedy}.",
        "In {year}, a similar case had made headlines in {town}.",
        "The {thing1}, which is made of {material}, was found {elsewhere}.",
        "The mayor thanked all who had helped. Work will go on in {month}.",
        "For {day}, more {weather} is expected.",
        "Experts point out that {fact}.",
    )
    return f"{title}\n\n{w['town1']}. {body}"


def diary(w: World) -> str:
    """Some days of a diary."""
    entries = []
    for _ in range(w.rng.randint(2, 4)):
        text = w.tell_some(
            2,
            4,
            "I {deed}.",
            "{Weather} all day.",
            "{name2} came and {deed}. I was {feeling}.",
            "Lost the {thing} again.",
            "Tomorrow I must remember: {saying}.",
            "{Trouble}! In the end we {remedy}.",
            "Nothing to eat but {food}.",
            "{Sight}. I could not sleep.",
            "{name3} does not speak to me any more. Why is {he3} so {trait}?",
            "Saw {few} {animal}s and a {colour} {thing}.",
            "I wonder what my {kin} is doing in {town}.",
        )
        entries.append(w.tell("{day}.", "{day}, {date} {month}.", "{month} {date}.") + " " + text)
    return "\n\n".join(entries)


def scene(w: World) -> str:
    """A conversation written as a play."""
    lines = [w.tell("({Place}. {Sight}.)", "Scene {date}. {Place}, at night. {Sight}.")]
    speakers = [w["name"], w["name2"]]
    for turn in range(w.rng.randint(5, 10)):
        speech = w.tell(
            "Where is the {thing}?",
            "I don't know. Ask the {people}.",
            "{Saying}. That is what my {kin2} used to say.",
            "Did you hear? {Trouble}!",
            "No, no, no. First you must tell me why you {deed}.",
            "I was {feeling}. So I {deed}.",
            "That is {a_trait} answer. Are you {feeling}?",
            "Everyone knows that {fact}.",
            "Then there is only one way. We do what {name3} did: {he3} {remedy}.",
            "Quiet! {Sight}.",
            "It is {hour} o'clock. We are too late.",
            "Give me {few} minutes and {a_size} {thing}.",
            "Why should I trust a {people}?",
            "Because I am the only {people} from here to {town}.",
            "You said the same in {month}.",
        )
        direction = w.tell(" ({manner})", "", "", "")
        lines.append(f"{speakers[turn % 2].upper()}{direction}: {speech}")
    return "\n".join(lines)


def instructions(w: World) -> str:
    """Numbered steps."""
    title = w.tell(
        "How to clean {a_thing1} of {material}",
        "How to become a {people1} in {few} steps",
        "What to do when {trouble1}",
        "Rules for every {people1}",
        "How to make a {colour} {thing1} from {material}",
    )
    steps = w.tell_each(
        4,
        8,
        "Take {few} pieces of {material} and put them into {a_size} box.",
        "Wash the {thing} with warm water; use no soap.",
        "Wait for {few} hours, or for {few} days if there is {weather}.",
        "Never forget: {saying}.",
        "Ask a {trait} {people} for help.",
        "Cut the {material} into strips, each {number} millimetres long.",
        "Paint it {colour} on both sides.",
        "Compare it with the {thing} that lies {elsewhere}.",
        "If you feel {feeling}, stop and begin again at step {few}.",
        "Remember that {fact}.",
        "Keep the rest in a dry place until {month}.",
        "Turn it {manner} to the left, then {few} times to the right.",
        "Do not let the {animal} near it.",
    )
    return title + "\n\n" + "\n".join(f"{number}. {step}" for number, step in enumerate(steps, 1))


def inventory(w: World) -> str:
    """A list with numbers."""
    style = w.rng.choice(
        ("- {count} {colour} {thing}s", "{thing}: {count}", "{thing} | {material} | {count}", "* {thing} ({count})")
    )
    title = w.tell(
        "Found {place} on {day}:",
        "{name} bought:",
        "Inventory, {month} {year}",
        "Lost property, {town}",
        "To do, {day}:",
    )
    if title.startswith("To do"):
        items = [
            w.tell("[ ] call the {people}", "[x] buy {food}", "[ ] repair the {thing}", "[x] feed the {animal}")
            for _ in range(6)
        ]
    else:
        items = []
        for _ in range(w.rng.randint(4, 8)):
            w["count"] = str(w.rng.randint(1, 99))
            items.append(style.format_map(w))
        items.append(w.tell("Total: {number}", "Checked by {name2}", "Nothing else was found."))
    return title + "\n" + "\n".join(items)


def lesson(w: World) -> str:
    """Questions and answers."""
    lines = []
    for _ in range(w.rng.randint(3, 5)):
        a, b = w.rng.randint(2, 20), w.rng.randint(2, 20)
        w.update(sum=f"{a} plus {b}", result=str(a + b), product=f"{a} times {b}", product_result=str(a * b))
        lines.append(
            w.tell(
                "Q: Is it true that {fact}?\nA: Yes, it is. A {people} told me so.",
                "Q: What is {sum}?\nA: {Result}.",
                "Q: What is {product}?\nA: {Product_result}.",
                "Q: What do you do when {trouble}?\nA: Once, somebody {remedy}.",
                "Q: Which day comes after {day1}?\nA: Ask {name}, who is never wrong.",
                "Q: What does a {people} need most?\nA: A {thing}, and to be {trait}.",
                "Q: Why were you {feeling}?\nA: Because {trouble}.",
                "Q: Complete the saying.\nA: {Saying}.",
            )
        )
    return "\n\n".join(lines)


def portrait(w: World) -> str:
    """A description of a person, in the present tense."""
    opening = w.tell(
        "{name} is {a_trait} {people1} from {town}.",
        "This is {name}, the most {trait} {people1} in {town}.",
        "Who is {name}? {A_trait} {people1}, some say.",
    )
    rest = w.tell_some(
        4,
        7,
        "{He} was born in {month} {year}, during a night of {weather}.",
        "{His} {kin2}, {name2}, is a {people2} too.",
        "Every {day} {he} goes to {town} and sells {food}.",
        "People say that {he} is {trait}, but {trait} as well.",
        "{He} has {few} {animal}s and {a_colour} {thing}.",
        "What {he} likes best is {food} with {food}.",
        "{He} never goes out without {a_thing} of {material}.",
        "{He} is afraid of {weather} and of {animal}s.",
        "When somebody asks {him} for advice, {he} says: {saying}.",
        "In {year} {trouble}; it was {name} who {remedy}.",
        "Since then {he} has been {feeling} on {day}s.",
        "{He} works {place}, from {hour} until {hour}.",
        "{He} taught {self} to read when {he} was {few}.",
    )
    return f"{opening} {rest}"


KINDS: dict[str, tuple[Callable[[World], str], int]] = {
    "tale": (tale, 8),
    "letter": (letter, 4),
    "news": (news, 3),
    "diary": (diary, 2),
    "scene": (scene, 3),
    "instructions": (instructions, 2),
    "inventory": (inventory, 1),
    "lesson": (lesson, 1),
    "portrait": (portrait, 2),
}
"""Kinds of texts, with how often each comes."""


def story(rng: random.Random) -> tuple[str, str]:
    """(source, text) of one generated text."""
    kind = rng.choices(list(KINDS), [weight for _, weight in KINDS.values()])[0]
    return f"generated/{kind}", KINDS[kind][0](World(rng))
