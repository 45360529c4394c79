"""Where generated stories take place: the words and clauses that belong to each place."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Setting:
    """A place with its own vocabulary.

    Attributes:
        place: with its preposition, after a verb of motion or rest.
        people: who works there.
        things: what lies about there; countable nouns in the singular.
        deeds: what somebody does there, in the past tense; `{thing}` is one of the things.
        sights: what can be noticed there, as main clauses in the past tense.
        troubles: what goes wrong, as main clauses in the past tense.
        remedies: how somebody puts it right, in the past tense.
        sayings: what people there tell each other.
        facts: what is always true there, in the present tense.
    """

    place: str
    people: tuple[str, ...]
    things: tuple[str, ...]
    deeds: tuple[str, ...]
    sights: tuple[str, ...]
    troubles: tuple[str, ...]
    remedies: tuple[str, ...]
    sayings: tuple[str, ...]
    facts: tuple[str, ...]


def _setting(place: str, **phrases: str) -> Setting:
    return Setting(place, **{kind: tuple(" ".join(text.split()).split(" | ")) for kind, text in phrases.items()})


SETTINGS = (
    _setting(
        "at the harbour",
        people="sailor | fisherman | ferry captain | dock worker | lighthouse keeper",
        things="net | anchor | rope | lantern | barrel | oar | compass | sail",
        deeds="""untangled the {thing} | painted the old boat blue | tied the {thing} to a post | counted crates of
            herring | lowered the {thing} into the water | rowed out past the breakwater""",
        sights="""gulls screamed above the masts | the tide was going out | fog lay on the water like wool | two
            ferries passed each other without a sound | the smell of tar and salt was everywhere""",
        troubles="""the {thing} had sunk to the bottom | a storm tore the boat from its mooring | the engine would not
            start | the {thing} was full of holes | the harbour froze overnight""",
        remedies="""lifted it out with a long iron hook | waited for the wind to turn | mended it with wax and thread
            | borrowed a tug from the next port | cut a path through the ice""",
        sayings="""never trust a calm sea | the wind will change by noon | a knot is only as good as the hand that
            ties it | fish bite best before the rain""",
        facts="""the tide rises twice a day | a red light marks the left side of the channel | salt eats through
            iron | boats are heavier when they are wet""",
    ),
    _setting(
        "in the kitchen of the inn",
        people="cook | baker | waiter | dishwasher | innkeeper",
        things="pan | ladle | knife | oven | recipe | bowl | kettle | apron",
        deeds="""kneaded the dough for an hour | polished the {thing} | chopped onions and carrots | tasted the
            soup twice | hung the {thing} on its hook | set nine plates on the long table""",
        sights="""steam covered the windows | butter hissed in the pan | flour lay on every shelf | a cat slept
            beside the stove | the smell of bread drifted into the street""",
        troubles="""the {thing} was missing | the sauce had burned | forty guests came instead of four | somebody had
            mistaken the salt for sugar | the fire under the stove went out""",
        remedies="""made a new sauce from lemons and cream | asked the neighbours for eggs | scraped off the crust and
            began again | served cold pie instead | lit the stove with pages of an old newspaper""",
        sayings="""hunger is the best cook | salt can be added but not taken out | a sharp knife is a safe knife |
            patience makes the bread rise""",
        facts="""dough rises faster in a warm room | milk boils over when nobody looks | a pinch of salt makes
            chocolate sweeter | copper pans heat evenly""",
    ),
    _setting(
        "on the farm",
        people="farmer | shepherd | milkmaid | stable boy | beekeeper",
        things="bucket | fence | plough | ladder | wheelbarrow | hay cart | gate | hive",
        deeds="""fed the hens | repaired the {thing} | milked three cows before dawn | pulled the {thing} across
            the yard | gathered apples in a basket | taught the young dog to sit""",
        sights="""the wheat stood as high as a man | a cock crowed behind the barn | swallows darted under the roof
            | mud stuck to every boot | smoke rose straight from the chimney""",
        troubles="""a fox had found a hole in the {thing} | the youngest lamb was lost | hail beat down the barley |
            the well ran dry | the {thing} rolled into the pond""",
        remedies="""followed the tracks through the clover | closed the hole with wire and stones | dug until water
            came | called all the neighbours to help with the harvest | pulled it out with two horses""",
        sayings="""make hay while the sun shines | a good dog is worth three men | the early hen lays the egg | rain
            in May fills the barn""",
        facts="""sheep follow whoever walks first | bees sleep in the dark | a cow drinks more than a bathtub of
            water a day | apples keep until spring in a cool cellar""",
    ),
    _setting(
        "in the library",
        people="librarian | student | bookbinder | professor | night guard",
        things="dictionary | map | catalogue | lamp | manuscript | desk | index card | atlas",
        deeds="""read the same page four times | carried the {thing} to the window | copied a poem by hand |
            searched the shelves for a green cover | dusted the {thing} | wrote a date in the margin""",
        sights="""dust turned in the light | somebody coughed behind the shelves | the clock above the door ticked
            slowly | rain ran down the tall windows | the pages smelled of vanilla""",
        troubles="""the {thing} had been put on the wrong shelf | the last chapter was torn out | the lights failed |
            nobody could read the handwriting | a pipe burst above the history section""",
        remedies="""compared it with an older edition | found the answer in a footnote | asked a friend who knew Latin
            | dried the pages one by one | lit a candle and went on reading""",
        sayings="""a book is a door | silence is also an answer | look in the index first | who borrows must return""",
        facts="""old paper turns yellow in the sun | books are sorted by subject and author | a microfilm holds a
            whole year of newspapers | ink made from oak lasts for centuries""",
    ),
    _setting(
        "at the railway station",
        people="conductor | train driver | porter | signalman | ticket seller",
        things="suitcase | ticket | timetable | whistle | umbrella | bench | trolley | clock",
        deeds="""checked the {thing} again | waved to the children in the last carriage | sold eighty tickets
            before breakfast | pushed the {thing} along the platform | shouted the name of the next town |
            waited under the iron roof""",
        sights="""pigeons walked between the rails | a voice announced the express | steam rose from a paper cup |
            the signal changed from red to green | a soldier slept on his bag""",
        troubles="""the train was two hours late | somebody had left a {thing} on the seat | snow covered the tracks |
            the {thing} fell onto the rails | the wrong carriage was uncoupled""",
        remedies="""sent a message to the next station | climbed down and fetched it just in time | cleared the line
            with shovels | took the slow train instead | found the owner by the name on the label""",
        sayings="""the train waits for nobody | better an hour early than a minute late | keep your ticket until the
            end | every line leads home""",
        facts="""rails grow longer in summer | the night train has no dining car | express trains stop at large
            towns only | a signal at red means danger""",
    ),
    _setting(
        "in the hospital",
        people="doctor | nurse | surgeon | patient | pharmacist",
        things="bandage | thermometer | chart | blanket | syringe | stretcher | bottle of pills | bed",
        deeds="""took the boy's temperature | wrote two lines on the {thing} | washed her hands up to the elbows |
            moved the {thing} closer to the window | listened to the old man's heart | changed the bandage on
            his knee""",
        sights="""the corridor smelled of soap | a monitor beeped in the next room | visitors whispered by the door
            | the night shift drank tea | flowers stood on every table""",
        troubles="""the fever would not fall | the {thing} had been mixed up | the ambulance was stuck in the snow |
            the electricity failed during the operation | a child had swallowed a coin""",
        remedies="""gave him a smaller dose every hour | switched to the generator in the cellar | sent for a
            specialist | told a story until the pain was gone | found the mistake on the second page of the
            chart""",
        sayings="""sleep heals more than pills | ask where it hurts first | a cold lasts a week with or without
            medicine | clean hands save lives""",
        facts="""the heart beats about a hundred thousand times a day | bones heal in six weeks | a fever kills
            germs | the liver can grow back""",
    ),
    _setting(
        "in the forest",
        people="ranger | hunter | woodcutter | botanist | charcoal burner",
        things="axe | lantern | trap | tent | path | map | nest | log",
        deeds="""marked the oldest trees with chalk | lit a small fire | sharpened the {thing} | picked mushrooms
            among the roots | followed the stream uphill | hid the {thing} under dry leaves""",
        sights="""an owl called twice | the moss was soft and wet | sunlight fell in narrow stripes | a deer stood
            still between the birches | somewhere a branch cracked""",
        troubles="""the path divided and there was no sign | wolves howled on the ridge | the {thing} was lost among
            the ferns | lightning set a pine on fire | the bridge over the gorge had rotted away""",
        remedies="""walked downhill until there was water | beat out the flames with wet coats | climbed a tree to see
            the village | threw a rope across | waited for the moon to rise""",
        sayings="""moss grows on the north side | the forest has ears | never eat a mushroom you can't name | walk
            softly and you will see more""",
        facts="""an oak lives longer than ten people | ants carry many times their own weight | foxes store food
            for the winter | ferns are older than flowers""",
    ),
    _setting(
        "at the school",
        people="teacher | pupil | headmaster | caretaker | music teacher",
        things="chalkboard | pencil | notebook | globe | bell | ruler | violin | microscope",
        deeds="""drew a triangle on the board | borrowed a {thing} | recited the poem without a mistake | broke the
            {thing} by accident | explained how rain is made | counted to one hundred in French""",
        sights="""chalk dust hung in the air | somebody laughed in the back row | the bell rang for the second
            lesson | paintings of whales covered the wall | snowballs hit the windows""",
        troubles="""nobody had done the homework | the {thing} had disappeared | the oldest pupil could not read | the
            roof leaked onto the piano | two friends stopped talking to each other""",
        remedies="""turned the lesson into a game | stayed after class and practised | wrote both of them a letter |
            put nine buckets under the roof | asked the quietest girl, who knew everything""",
        sayings="""there are no stupid questions | think before you write | a mistake is a step forward | practice
            makes perfect""",
        facts="""a triangle has three angles | seven times eight is fifty-six | water freezes at zero degrees | the
            Earth goes round the Sun in a year""",
    ),
    _setting(
        "in the workshop",
        people="carpenter | clockmaker | blacksmith | apprentice | glassblower",
        things="hammer | saw | screw | spring | bench | hinge | file | wheel",
        deeds="""sanded the table until it shone | tightened the {thing} | measured the plank twice | oiled the
            {thing} | hammered the iron flat | took the clock apart and laid out its parts""",
        sights="""sparks flew from the forge | curls of wood covered the floor | a dozen clocks struck at once | the
            glue smelled of fish | glass glowed orange in the furnace""",
        troubles="""the {thing} snapped in two | the clock ran backwards | the chair had one leg too short | the
            customer wanted his money back | the furnace went cold in the night""",
        remedies="""forged a stronger one | turned a tiny wheel the other way | shortened the other three legs | built
            a new one for nothing | stoked the fire until morning""",
        sayings="""measure twice and cut once | a bad worker blames the tools | iron must be struck while it is hot |
            the last screw takes the longest""",
        facts="""steel is harder than iron | oak is heavier than pine | oil keeps rust away | glass flows when it
            is hot""",
    ),
    _setting(
        "at the market",
        people="merchant | butcher | flower seller | spice trader | customer",
        things="basket | scale | coin | melon | carpet | cage | purse | jar of honey",
        deeds="""haggled over a {thing} | stacked oranges into a pyramid | weighed the cheese | wrapped the {thing}
            in paper | tasted three kinds of olives | counted the change twice""",
        sights="""voices rose from every stall | a monkey danced on a drum | silk shone in the sun | wasps circled
            the plums | a beggar played the flute""",
        troubles="""somebody stole a {thing} | the price of bread had doubled | the scale was false | a goat ate the
            flowers | rain soaked all the carpets""",
        remedies="""chased the thief through the crowd | paid with a silver ring | sold the rest at half price |
            fetched the guard, who weighed everything again | hung them up between two houses""",
        sayings="""buy cheap and pay twice | the customer is always right until he leaves | fresh fish has clear eyes
            | a smile costs nothing""",
        facts="""prices fall in the evening | saffron is worth more than silver | melons are sold by weight | the
            market closes when the bells ring""",
    ),
    _setting(
        "in the mountains",
        people="climber | guide | goatherd | mountain rescuer | geologist",
        things="rope | ice axe | backpack | hut | tent | boot | crystal | sledge",
        deeds="""melted snow for tea | tied the {thing} to a rock | crossed the glacier before sunrise | packed the
            {thing} | drew a map of the valley | collected stones with silver veins""",
        sights="""the peak glowed pink | an eagle hung in the wind | clouds filled the valley below | the air was
            thin and cold | a bell rang far down in the pasture""",
        troubles="""an avalanche blocked the pass | the {thing} slipped over the edge | the guide twisted his ankle |
            the hut was locked | fog hid the trail""",
        remedies="""dug a cave in the snow and waited | lowered a lantern on a string | carried him down on the sledge
            | melted the ice in the lock with a match | followed the sound of the stream""",
        sayings="""the summit is only half of the way | go slowly and you will arrive | never climb alone | the
            mountain decides""",
        facts="""water boils at a lower temperature up here | glaciers move a little every day | snow can burn the
            skin | granite is made of three minerals""",
    ),
    _setting(
        "in the observatory",
        people="astronomer | technician | visitor | physicist | computer operator",
        things="telescope | lens | star chart | computer | antenna | mirror | notebook | cable",
        deeds="""turned the dome towards the south | cleaned the {thing} | wrote a program that counts stars |
            photographed the rings of Saturn | unplugged the {thing} | calculated the orbit again""",
        sights="""the Milky Way stretched over the roof | a red light blinked on the panel | the motors hummed | a
            comet stood low in the west | frost covered the railing""",
        troubles="""clouds came in at midnight | the {thing} was out of focus | the numbers did not agree | the
            program stopped with an error | an unknown signal appeared every eleven seconds""",
        remedies="""found a missing minus sign | repeated the measurement three times | replaced the cable | traced it
            to the microwave oven in the kitchen | waited for a gap in the clouds""",
        sayings="""check the units | one measurement is no measurement | the sky is never the same twice | nature
            does not hurry""",
        facts="""light from the Sun takes eight minutes to arrive | Jupiter is the largest planet | the Moon always
            shows the same side | stars twinkle because the air moves""",
    ),
    _setting(
        "in the theatre",
        people="actor | director | prompter | dancer | violinist",
        things="curtain | costume | mask | script | spotlight | stage door | mirror | trumpet",
        deeds="""rehearsed the last scene | sewed a button on the {thing} | forgot the second verse | painted a
            forest on canvas | dropped the {thing} behind the stage | bowed seven times""",
        sights="""the audience held its breath | dust danced in the spotlight | somebody tuned a violin | the red
            curtain trembled | a child in the first row yawned""",
        troubles="""the leading actor lost his voice | the {thing} caught fire | the orchestra played the wrong tune |
            only nine tickets were sold | the ghost appeared too early""",
        remedies="""whispered every line from behind the curtain | improvised a duel | put it out with the water of
            the vase | played for the nine as if they were a thousand | began again from the overture""",
        sayings="the show must go on | speak to the last row | there are no small parts | break a leg",
        facts="""a play has acts and scenes | the prompter knows every line | real diamonds look dull on the stage
            | tragedies end with a death""",
    ),
    _setting(
        "at the football ground",
        people="goalkeeper | coach | referee | striker | groundsman",
        things="ball | whistle | jersey | goalpost | flag | bench | trophy | water bottle",
        deeds="""scored in the last minute | kicked the {thing} over the wall | ran ten laps in the rain | blew the
            whistle | argued about the offside rule | kissed the {thing}""",
        sights="""the crowd sang louder and louder | the grass was wet | flags waved in the stands | floodlights lit
            the drizzle | the clock showed eighty-nine minutes""",
        troubles="""the best striker broke his toe | the team was three goals behind | the {thing} burst | the referee
            saw nothing | the bus with the visitors lost its way""",
        remedies="""changed to two strikers | sent the youngest player on | borrowed one from the children outside |
            watched the scene again on the screen | defended with all eleven""",
        sayings="""the next game is always the hardest | attack wins games and defence wins titles | the ball is
            round | it is not over until the whistle""",
        facts="""a game lasts ninety minutes | each team has eleven players | a red card means leaving the field |
            a draw gives one point""",
    ),
    _setting(
        "in the old castle",
        people="king | queen | knight | servant | jester",
        things="sword | crown | torch | key | shield | letter | mirror | chest",
        deeds="""locked the {thing} in the tower | rode out to meet the enemy | signed the peace | polished the
            {thing} | told the princess a riddle | walked along the walls at night""",
        sights="""torches smoked along the walls | an army camped beyond the river | ravens sat on the gate | music
            came from the great hall | the drawbridge creaked""",
        troubles="""the {thing} was stolen during the feast | the enemy stood before the gate | the king fell ill |
            the well was poisoned | two brothers claimed the same crown""",
        remedies="""sent a pigeon to the neighbouring kingdom | opened the secret passage behind the fireplace | let
            the wisest woman of the land decide | offered a cask of wine and peace | caught the thief by a
            clever question""",
        sayings="""a promise is a promise | even kings must sleep | who guards the guards | the walls remember
            everything""",
        facts="""a siege may last a year | knights are trained from the age of seven | the crown goes to the eldest
            child | stone rooms are cold even in summer""",
    ),
    _setting(
        "in the office",
        people="manager | secretary | accountant | programmer | intern",
        things="printer | contract | keyboard | folder | telephone | calendar | coffee machine | lift",
        deeds="""wrote a report of forty pages | restarted the {thing} | cancelled the meeting | added the same
            column again | looked for the {thing} in every drawer | sent the message to the wrong person""",
        sights="""telephones rang on every desk | the blinds were half closed | somebody had left the light on | a
            plant died slowly beside the window | the whole floor smelled of coffee""",
        troubles="""the {thing} was broken again | the numbers in the report were wrong | the biggest client was angry
            | the password had expired | the deadline was moved to Monday""",
        remedies="""found the error in row twelve | turned it off and on again | apologised and sent flowers | worked
            through the weekend | hired a student who fixed it in an hour""",
        sayings="""put it in writing | a meeting without notes never happened | done is better than perfect | always
            keep a copy""",
        facts="""invoices are paid within thirty days | the lift stops on the fourth floor | passwords expire every
            season | the budget is decided in autumn""",
    ),
)
