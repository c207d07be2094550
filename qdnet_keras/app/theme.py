"""The look: neutral greys, so that no colour stands beside a photograph; fonts of the machine."""

import gradio as gr

_SANS = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Helvetica Neue", "sans-serif")
_MONO = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace")


def theme() -> gr.themes.Base:
    """Gradio's theme of the page, light and dark."""
    return gr.themes.Base(
        primary_hue=gr.themes.colors.amber,
        neutral_hue=gr.themes.colors.neutral,
        radius_size=gr.themes.sizes.radius_md,
        font=list(_SANS),
        font_mono=list(_MONO),
    ).set(
        body_background_fill="#f4f4f4",
        body_background_fill_dark="#161616",
        block_background_fill="#ffffff",
        block_background_fill_dark="#1f1f1f",
        block_border_width="0px",
        block_shadow="none",
        button_primary_background_fill="#1c1c1c",
        button_primary_background_fill_hover="#3a3a3a",
        button_primary_text_color="#ffffff",
        button_primary_background_fill_dark="#f2f2f2",
        button_primary_background_fill_hover_dark="#ffffff",
        button_primary_text_color_dark="#161616",
        slider_color="#d97706",
        slider_color_dark="#f59e0b",
    )
