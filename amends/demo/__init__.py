"""The shop: five services, five order systems made of them, and the programs that put them under load.

Start reading with `systems.coordinator`.
"""
