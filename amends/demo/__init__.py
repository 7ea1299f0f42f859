"""The shop: five services, a saga for an order, and the programs that put them under load.

Start reading with `place_order`.
"""
