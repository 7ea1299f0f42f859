"""A saga whose first two steps stand side by side; nobody runs it, its plan is looked at."""

import msgspec

from amends import Results, Saga, step


class Course(msgspec.Struct, frozen=True):
    """Every command of it."""

    name: str


class Meal(Saga, name="meal"):
    """Soup and bread at once, then the sweet."""

    input: Course

    @step(to="kitchen")
    def soup(self, course: Course, done: Results) -> Course:
        return course

    @step(to="kitchen")
    def bread(self, course: Course, done: Results) -> Course:
        return course

    @step(to="kitchen", after=[soup, bread])
    def sweet(self, course: Course, done: Results) -> Course:
        return course
