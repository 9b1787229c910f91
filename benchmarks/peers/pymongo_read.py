"""pymongo: a collection, each document dropped. Arguments: source."""

import sys
from collections import deque

from pymongo import MongoClient

with MongoClient(sys.argv[1]) as client:
    deque(client.bench.items.find(batch_size=5000), maxlen=0)
