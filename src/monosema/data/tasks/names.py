"""First names by customary gender, places and objects that the prompt tasks draw from.

All are common words that the embedded model's tokenizer holds as single tokens with their leading space. The names are
a selection from the list of English first names by Mark Kantrowitz and Bill Ross, to whom credit is due.
"""

from __future__ import annotations

from monosema.data.tasks.task import words_of

MALE = words_of(
    """Aaron Adam Alan Albert Alexander Alfred Andrew Anthony Arthur Benjamin Brian Charles Daniel David Dennis Donald
    Douglas Edmund Edward Eric Ernest Francis Frank Frederick George Gerald Gilbert Gregory Harold Harry Henry
    Herbert Howard Hugh Isaac Jack Jacob James John Jonathan Joseph Joshua Kenneth Kevin Lawrence Leonard Louis Mark
    Martin Matthew Michael Nathan Nicholas Oliver Oscar Patrick Paul Peter Philip Ralph Raymond Richard Robert Roger
    Samuel Simon Stephen Steven Theodore Thomas Timothy Victor Walter William"""
)
FEMALE = words_of(
    """Agnes Alice Amanda Amy Andrea Angela Ann Anna Barbara Beatrice Bertha Betty Carol Caroline Catherine Charlotte
    Christine Clara Cynthia Deborah Diana Dorothy Edith Eleanor Elizabeth Ellen Emily Emma Esther Florence Frances
    Grace Hannah Harriet Helen Ida Irene Isabel Jane Janet Jennifer Jessica Joan Judith Julia Karen Kate Laura Linda
    Louisa Lucy Lydia Margaret Maria Martha Mary Matilda Melissa Nancy Nora Olivia Pamela Patricia Rachel Rebecca
    Rose Ruth Sandra Sarah Sophia Stella Susan Theresa Victoria Virginia"""
)
NAMES = tuple(sorted(MALE + FEMALE))

PLACES = words_of(
    """bank beach bridge castle church farm garden harbour hospital hotel house kitchen lake library market museum
    office palace park river school shop stable station store theatre village"""
)
OBJECTS = words_of(
    """basket bell book bottle box candle card coat coin cup drink flower gift hat key knife lamp letter map mirror
    necklace newspaper paper pen picture ring rope stone ticket watch"""
)
