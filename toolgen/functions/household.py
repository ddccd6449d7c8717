"""VirtualHome's actions and objects: the words of a plan such as ``[WALK] <home_office>``. Knows how a plan writes them
and what they mean, but nothing runs here and no state of a home is kept."""

from dataclasses import dataclass

ACTION, OBJECT = "action", "object"


@dataclass(frozen=True, slots=True)
class Word:
    """One token of a plan.

    Attributes:
        id: As a plan names it.
        name: As people say it.
        description: What it does or is.
        group: ``ACTION`` or ``OBJECT``.
    """

    id: str
    name: str
    description: str
    group: str

    @property
    def written(self) -> str:
        """Its text in a plan: an object stands on its action's line, behind a space."""
        return self.id if self.group == ACTION else f" {self.id}"


WORDS = (
    *(
        Word(f"[{tag}]", name, description, ACTION)
        for tag, name, description in (
            ("WALK", "walk", "Walks to a room or up to an object."),
            ("RUN", "run", "Runs to a room or up to an object, faster than walking."),
            ("FIND", "find", "Finds an object nearby, so that something can be done with it."),
            ("LOOKAT", "look at", "Turns the eyes to an object."),
            ("WATCH", "watch", "Watches something for a while, such as what is on television."),
            ("READ", "read", "Reads what is written on something, such as a novel or a letter."),
            ("POINTAT", "point at", "Points at an object, as one does with a remote control."),
            ("TURNTO", "turn to", "Turns the body towards an object."),
            ("SIT", "sit", "Sits down on a chair or a couch."),
            ("LIE", "lie", "Lies down on a bed or a couch."),
            ("GRAB", "grab", "Takes an object into the hand."),
            ("PUTOBJBACK", "put back", "Puts an object that is held back where it belongs."),
            ("DROP", "drop", "Lets go of an object that is held."),
            ("TOUCH", "touch", "Touches an object with the hand, such as a keyboard."),
            ("TYPE", "type", "Types on a keyboard."),
            ("PUSH", "push", "Pushes or presses an object, such as a button."),
            ("PULL", "pull", "Pulls an object closer, such as a chair from under a desk."),
            ("OPEN", "open", "Opens something that has a door or a lid."),
            ("CLOSE", "close", "Closes something that has a door or a lid."),
            ("SWITCHON", "switch on", "Switches a device or a light on."),
            ("SWITCHOFF", "switch off", "Switches a device or a light off."),
            ("PLUGIN", "plug in", "Connects a device to the mains."),
            ("WASH", "wash", "Washes an object with water and soap."),
            ("RINSE", "rinse", "Rinses an object under running water."),
            ("END", "end", "Ends the plan: the goal is reached and nothing is left to do."),
        )
    ),
    *(
        Word(f"<{tag}>", name, description, OBJECT)
        for tag, name, description in (
            ("bathroom", "bathroom", "The room in which people wash."),
            ("bedroom", "bedroom", "The room in which people sleep."),
            ("dining_room", "dining room", "The room in which people eat."),
            ("home_office", "home office", "The room for work and leisure, with a desk, a computer and a television."),
            ("bed", "bed", "A bed to lie and sleep in."),
            ("chair", "chair", "A chair to sit on, at a table or a desk."),
            ("couch", "couch", "A couch for several people to sit or lie on."),
            ("cupboard", "cupboard", "A cupboard in which things are kept."),
            ("desk", "desk", "A desk to work at."),
            ("table", "table", "A table to eat at or to put things on."),
            ("floor_lamp", "floor lamp", "A tall lamp that stands on the floor."),
            ("light", "light", "The light of a room."),
            ("faucet", "faucet", "A tap that water comes from."),
            ("sink", "sink", "A basin under a tap, in which things are washed."),
            ("freezer", "freezer", "A freezer or fridge that keeps food cold."),
            ("food_food", "food", "Something to eat."),
            ("plate", "plate", "A plate to eat from."),
            ("computer", "computer", "A desktop computer, for work, mail and the internet."),
            ("laptop", "laptop", "A portable computer."),
            ("keyboard", "keyboard", "A computer's keyboard to type on."),
            ("mouse", "mouse", "A computer's mouse, which moves the pointer."),
            ("button", "button", "A button to press on a device or its remote control."),
            ("phone", "phone", "A telephone to call and answer with."),
            ("television", "television", "A television set to watch programmes on."),
            ("remote_control", "remote control", "The remote control of a television, which changes its channel."),
            ("bookmark", "bookmark", "A mark between the pages of a book."),
            ("check", "check", "A cheque or another paper, to read or to fill in."),
            ("mail", "mail", "Letters and other post, to open and to read."),
            ("novel", "novel", "A book to read."),
            ("cat", "cat", "A cat that lives in the home."),
        )
    ),
)
