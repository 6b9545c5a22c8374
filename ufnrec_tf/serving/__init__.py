"""A local server of an exported model: TensorFlow Serving's REST form, health, metrics, a page.

Nothing of training is imported here, and of the web framework only what serves: `app`, `guard`,
`page_api` and `running` need the packages of the extra `serve`.
"""
