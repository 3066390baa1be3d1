"""A browser as a device: a page with `@litertjs/core`, and a server on loopback that talks to it.

`edgekit.devices.web.bridge` is started as a process of its own, like every agent, and speaks the
agent's frames on its standard streams. It serves the page, starts a headless browser, and hands
requests on. The page (``page/``) has the runtime; times are taken there.
"""
