"""What `enhance` keeps beside a rendering: its recipe and a colour table."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from qdnet_keras.cli.common import reserve_output
from qdnet_keras.defaults import WORKING_SIDE
from qdnet_keras.errors import PresetError

if TYPE_CHECKING:
    from qdnet_keras.outcomes import Enhanced
    from qdnet_keras.photos.files import Photo


@dataclass(frozen=True)
class Keep:
    """Files that are asked for, and the preset that makes the rendering."""

    recipe: Path | None
    cube: Path | None
    preset: str
    force: bool

    def __bool__(self) -> bool:
        return self.recipe is not None or self.cube is not None

    def check(self, several: bool) -> None:
        """Makes the folders.

        Raises:
            typer.BadParameter: There are several renderings.
            OutputError: A file exists already, or its folder cannot be made.
            PresetError: The preset cannot be read, or has no tone curves.
        """
        from qdnet_keras.model.presets import read_preset_config

        if several:
            option = "--recipe" if self.recipe else "--cube"
            raise typer.BadParameter("it is of one rendering; give one.", param_hint=option)
        for path in (self.recipe, self.cube):
            if path is not None:
                reserve_output(path, self.force)
        if read_preset_config(self.preset)["model"].get("head", "grid") != "grid":
            raise PresetError(
                f"The preset {self.preset} has no tone curves; recipes and tables need one "
                "with the head grid."
            )

    def write(self, photo: "Photo", enhanced: "Enhanced") -> dict[str, Any]:
        """Writes the files.

        Returns:
            What the JSON says of them, by option.

        Raises:
            OutputError: One cannot be written.
        """
        if not self:
            return {}
        from qdnet_keras.photos.files import working_copy
        from qdnet_keras.recipes.cube import Cube
        from qdnet_keras.recipes.recipe import Recipe

        recipe = Recipe.of(enhanced, self.preset)
        record: dict[str, Any] = {}
        if self.recipe is not None:
            recipe.save(self.recipe, force=self.force)
            record["recipe"] = str(self.recipe)
        if self.cube is not None:
            cube = Cube.fit(recipe, working_copy(photo.srgb, WORKING_SIDE))
            cube.save(self.cube, force=self.force)
            left = {"delta_e_made": cube.made, "delta_e_left_out": cube.left}
            record["cube"] = {"file": str(self.cube), **left}
        return record


def told(kept: dict[str, Any]) -> list[str]:
    """The same for people."""
    told = [f"recipe {kept['recipe']}"] if "recipe" in kept else []
    if cube := kept.get("cube"):
        made, left = cube["delta_e_made"], cube["delta_e_left_out"]
        told.append(f"{cube['file']} leaves out {left:.1f} of ΔE {made:.1f}")
    return told
