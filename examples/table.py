"""From a table to a prediction: a CSV file, standardised columns, a net, and its error in the table's own units.

The table has the size of flats, their age and their district, and the rent. Columns of numbers come in all sizes, and
a net learns best from numbers near 1, so each column is brought to mean 0 and deviation 1: by what the rows to learn
from say, and no others.

Run it: python examples/table.py [epochs]
"""

import random
import sys
import tempfile
from pathlib import Path

import backlit as bl

EPOCHS = int(sys.argv[1]) if len(sys.argv) > 1 else 60


def write(path, rows=400):
    """A table made up by a rule with some chance in it, with a few cells left empty, as tables have them."""
    chance = random.Random(0)
    lines = ["size,age,district,rent"]
    for _ in range(rows):
        size, age = chance.uniform(25, 140), chance.uniform(0, 90)
        district = chance.choice(["old town", "port", "hill"])
        rent = (9 + 4 * (district == "hill") - 0.03 * age) * size + chance.gauss(0, 40)
        lines.append(f"{size:.0f},{'' if chance.random() < 0.02 else round(age)},{district},{rent:.0f}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


with tempfile.TemporaryDirectory() as folder:
    file = Path(folder) / "flats.csv"
    write(file)
    try:
        bl.load_csv(file, target="rent")
    except bl.DataError as error:
        print(f"As it is, the file is refused:\n\n{error}\n")
    flats = bl.load_csv(file, target="rent", missing="mean")
print(flats, "\n")

train, test = bl.data.split(flats, 0.25, key=0)
scale = bl.standardise(train)
rents = bl.standardise(train.targets)  # the target, too


def scaled(data):
    return scale.transform(data.inputs), rents.transform(data.targets)


model = bl.nn.MLP(flats.inputs.shape[1], [16, 1], key=0)
run = bl.fit(model, scaled(train), lr=0.01, epochs=EPOCHS, validation=scaled(test), metrics=["r2"], progress=False)
print(run, "\n")

predicted = rents.inverse(run.predict(scale.transform(test.inputs)))
error = abs(predicted - test.targets).mean()
guess = abs(train.targets.mean() - test.targets).mean()
print(f"On flats it has not seen it is off by {error:.0f} on average; always saying the mean is off by {guess:.0f}.")
for row in range(3):
    about = ", ".join(f"{name} {x:g}" for name, x in zip(flats.feature_names, test.inputs[row], strict=True) if x)
    print(f"  {about}: predicted {predicted[row, 0]:.0f}, rent {test.targets[row, 0]:.0f}")
