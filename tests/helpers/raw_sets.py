"""Every published data set in miniature, laid out as its publisher does, with what is in it."""

import gzip
import io
import json
import tarfile
import zipfile
from dataclasses import dataclass, field

DAY = 86_400.0
NAN = float("nan")


@dataclass
class RawSet:
    """A data set's files, and what they hold.

    Attributes:
        files: File name -> bytes; the log first.
        events: (user, item, seconds since 1970, rating or None), in order.
        items: Item id -> (title, category, price).
        left_out: Lines that make no event.
        is_checked: Whether a checksum of the log is published.
    """

    files: dict[str, bytes]
    events: list[tuple]
    items: dict[str, tuple]
    left_out: int = 0
    is_checked: bool = True
    by_hand: bool = field(default=False)


def zipped(**members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, body in members.items():
            archive.writestr(name, body)
    return buffer.getvalue()


def tarred(members, mode="w"):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:
        for name, body in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(body)
            archive.addfile(info, io.BytesIO(body))
    return buffer.getvalue()


def gzipped(*lines):
    return gzip.compress("".join(f"{line}\n" for line in lines).encode())


GENRE_FLAGS = {1: "0|0|0|1|1|1|0|0|0|0|0|0|0|0|0|0|0|0|0", 2: "1" + "|0" * 18}
ML_100K = RawSet(
    files={
        "ml-100k.zip": zipped(
            **{
                "ml-100k/README": b"x",
                "ml-100k/u.data": (
                    b"196\t2\t3\t881250949\n186\t1\t4\t891717742\n196\t1\t5\t881250950\n"
                ),
                "ml-100k/u.item": (
                    f"1|Toy Story (1995)|01-Jan-1995||http://x/title?Toy|{GENRE_FLAGS[1]}\n"
                    f"2|Misérables, Les (1995)|01-Jan-1995||http://x|{GENRE_FLAGS[2]}\n"
                    f"3|Never rated (1996)|||x|{GENRE_FLAGS[2]}\n"
                ).encode("latin-1"),
            }
        )
    },
    events=[
        ("196", "2", 881250949.0, 3.0),
        ("186", "1", 891717742.0, 4.0),
        ("196", "1", 881250950.0, 5.0),
    ],
    items={
        "1": ("Toy Story (1995)", "Animation|Children's|Comedy", NAN),
        "2": ("Misérables, Les (1995)", "unknown", NAN),
    },
)
ML_1M = RawSet(
    files={
        "ml-1m.zip": zipped(
            **{
                "ml-1m/movies.dat": (
                    "1::Toy Story (1995)::Animation|Children's|Comedy\n"
                    "73::Misérables, Les (1995)::Drama|Musical\n"
                ).encode("latin-1"),
                "ml-1m/ratings.dat": b"1::73::5::978300760\n2::1::3::978302109\n",
                "ml-1m/users.dat": b"1::F::1::10::48067\n",
            }
        )
    },
    events=[("1", "73", 978300760.0, 5.0), ("2", "1", 978302109.0, 3.0)],
    items={
        "1": ("Toy Story (1995)", "Animation|Children's|Comedy", NAN),
        "73": ("Misérables, Les (1995)", "Drama|Musical", NAN),
    },
)


def movielens_csv(name):
    return RawSet(
        files={
            f"{name}.zip": zipped(
                **{
                    f"{name}/tags.csv": b"userId,movieId,tag,timestamp\n",
                    f"{name}/ratings.csv": (
                        b"userId,movieId,rating,timestamp\r\n1,296,5.0,1147880044\r\n"
                        b"1,11,3.5,1147868817\r\n2,296,0.5,1141415820\r\n"
                    ),
                    f"{name}/movies.csv": (
                        'movieId,title,genres\n11,"American President, The (1995)",Comedy|Drama\n'
                        '296,"Misérables, ""Les"" (1995)",(no genres listed)\n'
                    ).encode(),
                }
            )
        },
        events=[
            ("1", "296", 1147880044.0, 5.0),
            ("1", "11", 1147868817.0, 3.5),
            ("2", "296", 1141415820.0, 0.5),
        ],
        items={
            "11": ("American President, The (1995)", "Comedy|Drama", NAN),
            "296": ('Misérables, "Les" (1995)', "(no genres listed)", NAN),
        },
    )


def amazon_review(user, item, rating, time):
    record = {
        "reviewerID": user,
        "asin": item,
        "reviewerName": 'J. "Q" McDonald',
        "helpful": [2, 3],
        "reviewText": "I bought this for my husband, é.\nGreat",
        "overall": rating,
        "summary": "Heavenly Highway Hymns",
        "unixReviewTime": time,
        "reviewTime": "09 13, 2009",
    }
    return json.dumps({key: value for key, value in record.items() if value is not None})


AMAZON_EVENTS = [
    ("A2SUAM1J3GNN3B", "0000013714", 1252800000.0, 5.0),
    ("A1", "B000", 1252800001.0, 2.0),
    ("A2SUAM1J3GNN3B", "B000", 1252713600.0, 1.0),
]
AMAZON_LOG = gzipped(
    amazon_review("A2SUAM1J3GNN3B", "0000013714", 5.0, 1252800000),
    amazon_review("A1", "B000", 2.0, 1252800001),
    amazon_review(None, "B000", 2.0, 1252800001),
    amazon_review("A2", "B000", 2.0, None),
    amazon_review("A2SUAM1J3GNN3B", "B000", 1.0, 1252713600),
)
AMAZON_2014 = RawSet(
    files={
        "reviews_Beauty_5.json.gz": AMAZON_LOG,
        "meta_Beauty.json.gz": gzipped(
            "{'asin': 'B999', 'title': 'In no review'}",
            "{'asin': '0000013714', 'title': 'Girl\\'s &quot;Tutu&quot; &amp;  more', "
            "'price': 3.17, 'salesRank': {'Toys & Games': 211836}, "
            "'categories': [['Sports', 'Dance'], ['Toys']]}",
            "{'asin': 'B000', 'imUrl': None}",
        ),
    },
    events=AMAZON_EVENTS,
    items={
        "0000013714": ('Girl\'s "Tutu" & more', "Sports|Dance", 3.17),
        "B000": ("", "", NAN),
    },
    left_out=2,
    is_checked=False,
)
AMAZON_2018 = RawSet(
    files={
        "All_Beauty_5.json.gz": AMAZON_LOG,
        "meta_All_Beauty.json.gz": gzipped(
            '{"category": [], "title": "B", "price": "$3.00 - $9.00", "asin": "B000"}',
            '{"category": [], "title": "again", "price": "$3.00", "asin": "B000"}',
            '{"category": ["Beauty", "Hair Care"], "title": "Loud \\u0027N Clear", '
            '"price": "$1,299.50", "asin": "0000013714"}',
        ),
    },
    events=AMAZON_EVENTS,
    items={
        "0000013714": ("Loud 'N Clear", "Beauty|Hair Care", 1299.5),
        "B000": ("B", "", NAN),
    },
    left_out=2,
    is_checked=False,
)


def amazon_2023(*, is_checked):
    return RawSet(
        files={
            "Gift_Cards.csv.gz": gzipped(
                "user_id,parent_asin,rating,timestamp",
                "AGKH,B01CUPMQZE,4.0,1452647382000",
                "AGKH,B01KFLEDB2,5.0,1486063371500",
                ",B01KFLEDB2,5.0,1486063371500",
                "AG2,B01CUPMQZE,1.0,1252800000000",
            ),
            "meta_Gift_Cards.jsonl.gz": gzipped(
                '{"main_category": "Gift Cards", "title": "Card", "price": 25.0, '
                '"categories": ["Gift Cards", "Occasions"], "parent_asin": "B01CUPMQZE"}',
                '{"main_category": null, "title": "None", "price": null, "categories": [], '
                '"parent_asin": "B01KFLEDB2"}',
            ),
        },
        events=[
            ("AGKH", "B01CUPMQZE", 1452647382.0, 4.0),
            ("AGKH", "B01KFLEDB2", 1486063371.5, 5.0),
            ("AG2", "B01CUPMQZE", 1252800000.0, 1.0),
        ],
        items={
            "B01CUPMQZE": ("Card", "Gift Cards|Occasions", 25.0),
            "B01KFLEDB2": ("None", "", NAN),
        },
        left_out=1,
        is_checked=is_checked,
    )


STEAM = RawSet(
    files={
        "steam_reviews.json.gz": gzipped(
            "{u'username': u'Chaos \\xe9 Syren', u'hours': 0.1, u'products': 41, "
            "u'product_id': u'725280', u'page_order': 0, u'date': u'2017-12-17', "
            "u'text': u\"doesn't \\n\\u2605\", u'early_access': False, u'page': 1}",
            "{u'username': u'b', u'product_id': u'761140', u'date': u'1970-01-03'}",
            "{u'username': u'', u'product_id': u'761140', u'date': u'1970-01-03'}",
            "{u'username': u'c', u'product_id': u'761140', u'date': u'someday'}",
        ),
        "steam_games.json.gz": gzipped(
            "{u'publisher': u'K', u'genres': [u'Action', u'Indie'], u'app_name': u'Lost Kitty', "
            "u'title': u'Lost', u'price': 4.99, u'id': u'761140', u'tags': [u'x']}",
            "{u'app_name': u'Free one', u'price': u'Free To Play', u'id': u'725280'}",
            "{u'app_name': u'without an id'}",
        ),
    },
    events=[("Chaos é Syren", "725280", 17_517 * DAY, None), ("b", "761140", 2 * DAY, None)],
    items={"761140": ("Lost Kitty", "Action|Indie", 4.99), "725280": ("Free one", "", 0.0)},
    left_out=2,
    is_checked=False,
)
YELP_TAR = tarred(
    {
        "./yelp_academic_dataset_business.json": (
            b'{"business_id":"Pns2","name":"Abby Rappoport, LAC","city":"x","stars":5.0,'
            b'"categories":"Doctors, Traditional Chinese Medicine","hours":null}\n'
            b'{"business_id":"mpf3","name":"The UPS Store","categories":null}\n'
        ),
        "./yelp_academic_dataset_review.json": (
            b'{"review_id":"K","user_id":"mh_-eMZ6K5RLWhZyISBhwA","business_id":"mpf3","stars":3.0,'
            b'"useful":0,"text":"If you decide","date":"1970-01-02 00:00:09"}\n'
            b'{"review_id":"L","user_id":"OyoG","business_id":"Pns2","stars":5.0,'
            b'"date":"2012-01-03 15:28:18"}\n'
        ),
    }
)
YELP = RawSet(
    files={"yelp_dataset.tar": YELP_TAR},
    events=[
        ("mh_-eMZ6K5RLWhZyISBhwA", "mpf3", DAY + 9, 3.0),
        ("OyoG", "Pns2", 1325604498.0, 5.0),
    ],
    items={
        "Pns2": ("Abby Rappoport, LAC", "Doctors|Traditional Chinese Medicine", NAN),
        "mpf3": ("The UPS Store", "", NAN),
    },
    is_checked=False,
    by_hand=True,
)
GOWALLA = RawSet(
    files={
        "loc-gowalla_totalCheckins.txt.gz": gzipped(
            "0\t2010-10-19T23:55:27Z\t30.2359091167\t-97.7951395833\t22847",
            "0\t2010-10-18T22:17:43Z\t30.2691029532\t-97.7493953705\t420315",
            "0\tnever\t30.2691029532\t-97.7493953705\t420315",
            "7\t1970-01-02T00:00:01Z\t0\t0\t22847",
        )
    },
    events=[
        ("0", "22847", 1287532527.0, None),
        ("0", "420315", 1287440263.0, None),
        ("7", "22847", DAY + 1, None),
    ],
    items={},
    left_out=1,
)
LASTFM_2K = RawSet(
    files={
        "hetrec2011-lastfm-2k.zip": zipped(
            **{
                "user_artists.dat": b"userID\tartistID\tweight\r\n2\t51\t13883\r\n",
                "user_taggedartists-timestamps.dat": (
                    b"userID\tartistID\ttagID\ttimestamp\r\n2\t52\t13\t1238536800000\r\n"
                    b"2\t52\t15\t1238536800000\r\n2\t51\t18\t1238536800000\r\n"
                    b"2\t52\t13\t1243807200000\r\n3\t51\t13\t1238536800500\r\n"
                ),
                "artists.dat": (
                    "id\tname\turl\tpictureURL\r\n51\tDuran Duran\thttp://x\thttp://y\r\n"
                    "52\tSigur Rós\thttp://x\thttp://y\r\n53\tNobody's\thttp://x\r\n"
                ).encode(),
            }
        )
    },
    events=[
        ("2", "52", 1238536800.0, None),
        ("2", "51", 1238536800.0, None),
        ("2", "52", 1243807200.0, None),
        ("3", "51", 1238536800.5, None),
    ],
    items={"51": ("Duran Duran", "", NAN), "52": ("Sigur Rós", "", NAN)},
)
LASTFM_LOG = tarred(
    {
        "lastfm-dataset-1K/README.txt": b"x",
        "lastfm-dataset-1K/userid-timestamp-artid-artname-traid-traname.tsv": (
            "user_000001\t2009-05-04T23:08:57Z\tf1b1\tDeep Dish\t\tFlashdance (Live_2009)\n"
            'user_000001\t2009-05-04T13:54:10Z\ta7f7\t坂本"龍一\tt-1\tComposition 0919\n'
            "user_000002\t1970-01-02T00:00:00Z\ta7f7\t坂本\tt-1\tComposition 0919\n"
            "user_000002\t1970-01-02T00:00:01Z\t\tNo Id\tt-2\tA track\n"
            "a broken line\n"
            "user_000002\t1970-01-02T00:00:02Z\t\t\t\t\n"
        ).encode(),
        "lastfm-dataset-1K/userid-profile.tsv": b"#id\tgender\n",
    },
    "w:gz",
)
LASTFM_TIMES = [
    ("user_000001", 1241478537.0),
    ("user_000001", 1241445250.0),
    ("user_000002", DAY),
    ("user_000002", DAY + 1),
]


def lastfm_1k(ids, items):
    pairs = zip(LASTFM_TIMES, ids, strict=True)
    return RawSet(
        files={"lastfm-dataset-1K.tar.gz": LASTFM_LOG},
        events=[(user, item, time, None) for (user, time), item in pairs],
        items={item: (title, "", NAN) for item, title in items.items()},
        left_out=2,
    )


RAW_SETS = {
    "ml-100k": ML_100K,
    "ml-1m": ML_1M,
    "ml-20m": movielens_csv("ml-20m"),
    "ml-25m": movielens_csv("ml-25m"),
    "ml-32m": movielens_csv("ml-32m"),
    "amazon-2014-Beauty": AMAZON_2014,
    "amazon-2018-All_Beauty": AMAZON_2018,
    "amazon-2023-Gift_Cards": amazon_2023(is_checked=False),
    "amazon-2023-0core-Gift_Cards": amazon_2023(is_checked=True),
    "steam": STEAM,
    "yelp": YELP,
    "gowalla": GOWALLA,
    "lastfm-2k": LASTFM_2K,
    "lastfm-1k": lastfm_1k(
        ["Deep Dish - Flashdance (Live_2009)", "t-1", "t-1", "t-2"],
        {
            "Deep Dish - Flashdance (Live_2009)": "Deep Dish - Flashdance (Live_2009)",
            "t-1": '坂本"龍一 - Composition 0919',
            "t-2": "No Id - A track",
        },
    ),
    "lastfm-1k-artists": lastfm_1k(
        ["f1b1", "a7f7", "a7f7", "No Id"],
        {"f1b1": "Deep Dish", "a7f7": '坂本"龍一', "No Id": "No Id"},
    ),
}
"""Name as `data.name` has it -> its miniature."""
