# SPDX-License-Identifier: Apache-2.0
"""An in-memory database: schema, constraints, transactions, windows, recursion, own functions."""
import sqlite3

db = sqlite3.connect(":memory:")
db.row_factory = sqlite3.Row
db.executescript("""
PRAGMA foreign_keys = ON;
CREATE TABLE author (id INTEGER PRIMARY KEY, name TEXT UNIQUE NOT NULL);
CREATE TABLE book (id INTEGER PRIMARY KEY, author REFERENCES author, title TEXT, year INT,
                   pages INT CHECK (pages > 0));
CREATE INDEX by_year ON book (year);
""")
data = {"Woolf": [("Orlando", 1928, 333), ("The Waves", 1931, 324)],
        "Borges": [("Ficciones", 1944, 174), ("El Aleph", 1949, 157), ("Atlas", 1984, 95)],
        "Müller": [("Atemschaukel", 2009, 299)]}
for name, books in data.items():
    author = db.execute("INSERT INTO author (name) VALUES (?)", (name,)).lastrowid
    db.executemany(f"INSERT INTO book (author, title, year, pages) VALUES ({author}, ?, ?, ?)", books)
db.commit()
for row in db.execute("""
        SELECT name, count(*) AS n, sum(pages) AS pages, group_concat(title, '; ') AS titles
        FROM author JOIN book ON book.author = author.id GROUP BY name ORDER BY n DESC, name"""):
    print(dict(row))
for row in db.execute("""
        SELECT title, rank() OVER (ORDER BY pages DESC) AS r,
               year - lag(year) OVER (PARTITION BY author ORDER BY year) AS gap
        FROM book ORDER BY r"""):
    print(tuple(row))
print([r[0] for r in db.execute("""
        WITH RECURSIVE fib(a, b) AS (VALUES (0, 1) UNION ALL SELECT b, a + b FROM fib LIMIT 15)
        SELECT a FROM fib""")])
db.create_function("reverse", 1, lambda s: s[::-1], deterministic=True)


class Product:
    def __init__(self):
        self.value = 1

    def step(self, x):
        self.value *= x

    def finalize(self):
        return str(self.value)


db.create_aggregate("product", 1, Product)
print(*db.execute("SELECT reverse(title), (SELECT product(pages) FROM book) FROM book LIMIT 1").fetchone())
for bad in ("INSERT INTO book (pages) VALUES (0)", "INSERT INTO author (name) VALUES ('Woolf')",
            "INSERT INTO book (author, pages) VALUES (99, 1)", "SELEKT 1"):
    try:
        with db:
            db.execute(bad)
    except sqlite3.Error as e:
        print(type(e).__name__, e)
try:
    with db:
        db.execute("DELETE FROM book")
        raise KeyboardInterrupt
except KeyboardInterrupt:
    print("rolled back:", db.execute("SELECT count(*) FROM book").fetchone()[0])
other = sqlite3.connect("copy.db")
db.backup(other)
other.close()
print(sqlite3.connect("copy.db").execute("SELECT total(pages) FROM book").fetchone())
