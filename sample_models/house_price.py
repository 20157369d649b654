"""Estimates the price and monthly rent of a house from its area and city: two inputs, two outputs.

    tfsctl export sample_models/house_price.py
    tfsctl serve ./house_price
    tfsctl predict '{"area": 50, "city": "Paris"}'                       # price 500000, rent 2000

A square metre costs 10,000 (rent: 40 a month) in Paris, 5,000 (20) in Lyon and 2,000 (8) elsewhere.
"""

from __future__ import annotations

import keras
import numpy as np

ELSEWHERE = (2_000.0, 8.0)
SQUARE_METRE = {"Paris": (10_000.0, 40.0), "Lyon": (5_000.0, 20.0)}

area = keras.Input([], dtype="float32", name="area")
city = keras.Input([], dtype="string", name="city")

known_city = keras.layers.StringLookup(vocabulary=list(SQUARE_METRE))(city)  # 0: any other city
rates = keras.layers.Embedding(3, 2, weights=[np.array([ELSEWHERE, *SQUARE_METRE.values()])])(known_city)

model = keras.Model({"area": area, "city": city}, {"price": area * rates[:, 0], "rent": area * rates[:, 1]})

samples = [
    {"area": 50.0, "city": "Paris"},
    {"area": 40.0, "city": "Lyon"},
    {"area": 100.0, "city": "Plouguerneau"},
]
