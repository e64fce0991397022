"""The look of the page: the colours of the edit's own page, in light and dark."""

import gradio as gr

_FONTS = ['system-ui', '-apple-system', 'Segoe UI', 'sans-serif']  # none is fetched
_FIXED = ['ui-monospace', 'SF Mono', 'Menlo', 'Consolas', 'monospace']
_LIGHT = dict(paper='#fbfaf8', panel='#f2f0ec', ink='#1c1b19', quiet='#5f5b54', rule='#dad6ce',
              line='#857f74', made='#04618c', on_made='#ffffff')
_DARK = dict(paper='#161513', panel='#201e1b', ink='#ece9e3', quiet='#a9a399', rule='#37342f',
             line='#857f74', made='#6cc8f2', on_made='#0a1a22')
# Gradio's names of what has each colour.
_USES = {
  'paper': ['body_background_fill', 'background_fill_primary', 'block_background_fill',
            'input_background_fill', 'input_background_fill_focus', 'block_label_background_fill',
            'checkbox_background_color', 'button_secondary_background_fill',
            'checkbox_label_background_fill', 'button_cancel_background_fill'],
  'panel': ['background_fill_secondary', 'button_secondary_background_fill_hover',
            'checkbox_label_background_fill_hover', 'checkbox_label_background_fill_selected',
            'button_cancel_background_fill_hover'],
  'ink': ['body_text_color', 'block_title_text_color', 'button_secondary_text_color',
          'button_secondary_text_color_hover', 'block_label_text_color',
          'checkbox_label_text_color', 'checkbox_label_text_color_selected',
          'button_cancel_text_color', 'button_cancel_text_color_hover'],
  'quiet': ['body_text_color_subdued', 'block_info_text_color', 'input_placeholder_color'],
  'rule': ['border_color_primary', 'block_border_color', 'panel_border_color'],
  'line': ['input_border_color', 'button_secondary_border_color', 'checkbox_border_color',
           'checkbox_label_border_color', 'button_cancel_border_color',
           'input_border_color_focus'],
  'made': ['button_primary_background_fill', 'button_primary_background_fill_hover',
           'button_primary_border_color', 'link_text_color', 'loader_color',
           'checkbox_background_color_selected', 'checkbox_border_color_selected'],
  'on_made': ['button_primary_text_color', 'button_primary_text_color_hover'],
}


def theme() -> gr.themes.Base:
  """Gradio's own look with these colours."""
  values = {'color_accent_soft': _LIGHT['panel'], 'color_accent_soft_dark': _DARK['panel'],
            'color_accent': _LIGHT['made']}  # which has no dark one
  for colour, names in _USES.items():
    for name in names:
      values |= {name: _LIGHT[colour], f'{name}_dark': _DARK[colour]}
  base = gr.themes.Base(font=_FONTS, font_mono=_FIXED, radius_size='sm', text_size='md')
  return base.set(block_shadow='none', block_shadow_dark='none', button_primary_shadow='none',
                  button_secondary_shadow='none', button_border_width='1px',
                  input_border_width='1px', **values)
