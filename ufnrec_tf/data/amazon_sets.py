"""Amazon's reviews in their three editions: which categories there are, where they lie."""

from ufnrec_tf.data.dataset_entry import Dataset, File


def _names(text: str) -> list[str]:
    return text.split()


# Categories and checksums. Source: the data loaders of OmniRec, github.com/ISG-Siegen/OmniRec,
# src/omnirec/data_loaders/amazon2014.py, amazon2018.py and amazon2023.py, commit d631a337.
CATEGORIES_2014 = _names(
    "Amazon_Instant_Video Apps_for_Android Automotive Baby Beauty Books CDs_and_Vinyl "
    "Cell_Phones_and_Accessories Clothing_Shoes_and_Jewelry Digital_Music Electronics "
    "Grocery_and_Gourmet_Food Health_and_Personal_Care Home_and_Kitchen Kindle_Store "
    "Movies_and_TV Musical_Instruments Office_Products Patio_Lawn_and_Garden Pet_Supplies "
    "Sports_and_Outdoors Tools_and_Home_Improvement Toys_and_Games Video_Games"
)
CATEGORIES_2018 = _names(
    "AMAZON_FASHION All_Beauty Appliances Arts_Crafts_and_Sewing Automotive Books CDs_and_Vinyl "
    "Cell_Phones_and_Accessories Clothing_Shoes_and_Jewelry Digital_Music Electronics "
    "Gift_Cards Grocery_and_Gourmet_Food Home_and_Kitchen Industrial_and_Scientific "
    "Kindle_Store Luxury_Beauty Magazine_Subscriptions Movies_and_TV Musical_Instruments "
    "Office_Products Patio_Lawn_and_Garden Pet_Supplies Prime_Pantry Software "
    "Sports_and_Outdoors Tools_and_Home_Improvement Toys_and_Games Video_Games"
)
# SHA-256 of the files of all ratings (0-core). Of the five-core files none is published, nor of
# any file of the other editions.
_SHA256_2023 = """
54b894e68ad965aa73cdb80d8695c1ed37679c46f38b6f97b21ab0fb585aab24 All_Beauty
7d08f3ad3ec331eb95cabf5a85c8e65f82f958429a17131e6d391f54532c0310 Amazon_Fashion
0096701a2521a5fc71c5cfca11e953b0eb48a94a1b6ee4be65cb680c1fd56976 Appliances
05ca786b3f99269ba659d71891b55d23e37bd74ab6cec0b53214ccb656308bb3 Arts_Crafts_and_Sewing
9dda260d1d2cb91d0f967d0b4bfa0a09fda2904432023234569e45a6a30c48d3 Automotive
e2a8d0498afed767ee2615db7fac549559d82490b1a73c7241b84b5e9e8c279e Baby_Products
dd89a914e8c71d811c49a7e8fbdfc251c08bffb461b9544275e94018cb17f741 Beauty_and_Personal_Care
752e144c1d3804619711a6b21bd68a5505825064723bfcd5008ac26067abe04b Books
1bade4e428efcffb549b6b7cb1f62a8cde9644e19a981a210b11a4c9c1561e75 CDs_and_Vinyl
1f6df616b0ae463c039f68c7082daec52d2c713b33adb57b85db3430a8e2373a Cell_Phones_and_Accessories
ee93396e811c03d077290b78e323228c58814a034e3e98d0339e5314d7f7a9a7 Clothing_Shoes_and_Jewelry
dbd5ddd5398d0eb9cfe224c9cc60470ccfd9c55e76fc82653dd3f44f6796c2a1 Digital_Music
2ac3508c5d0ee55ed9fdc833629f751e0f0120b9a8cb30867c8c14b87911c170 Electronics
abfd9636afc5cdc1f46082ac1f9661b7c617cbd9c8a75652ad6a567173a14807 Gift_Cards
4cb2da7f57dfe210eecf348ee16514d11460022f0ce4ed141aa66e3eb5410135 Grocery_and_Gourmet_Food
b024e3e4cb1b1f4c9cfbb44a506ea42f8b8430ee8caf0dfa69fef52b69ece408 Handmade_Products
0a8982f9915bd18ea61caf4341db95c3fe1478abee907e6a61fec838374d2dca Health_and_Household
5516d99b9747abff99003a7e1518833c2d64b10196201b6e6e90673bee15964d Health_and_Personal_Care
9be4e2dc8b3dc513c02521644b2ae55f722b2941767e539dcfe518f6bdd4f70b Home_and_Kitchen
97aea590deb258f634caea04b63f038dceb5990bbc92cac87ce2a985f0f91595 Industrial_and_Scientific
ff546c451edfb403d10099912b816b11600e689a599621167d4847331fdc0a0d Kindle_Store
4892619d97f810331c2a278176b2be616de10403be59e48efbe65c5c1e7904d2 Magazine_Subscriptions
aa927ae5a4fc5262bfa6152ce522349f828760035242fd7e02b1dc139e867156 Movies_and_TV
042648a89f479aaa2af4664dcb49966dbaf07bd5ebab6957799f5fb4c5efa2e0 Musical_Instruments
f91b5cfb6ed5ff52afe3e2f3ecc7918cbd8745b3241a8fc61011c3a41f23920b Office_Products
a1ea496e71e488c6b12823d479ed6375384b82f6794b38e66d12a5dcd20c392d Patio_Lawn_and_Garden
cfc55406a1fbb507e4adfa18472e60a5de52fab3dd76f97fea25d30da1288003 Pet_Supplies
11687bdbedc0bfd9bf86368465dcab40f2450d1ea8eabd3c830ba8b339edd9c0 Software
110617511c7303ca34d157b7d62fd20a02e412c3639b4c6e307a951fadf0414c Sports_and_Outdoors
fb867ee253db3987ab3ceaf371da506df794b08c98cf9a99e9718d9e4e818188 Subscription_Boxes
5845ac062a2c165d540badac13f00a8cb8cdaa30deb670a9b41db19d92c6bd1d Tools_and_Home_Improvement
170fc8a18797c6091cf1b07bb3d97c13c94bfa030cf76c430bb8cac0dfb47a9f Toys_and_Games
864c1dfa8b215a9a09fe0d17c7abc15f2da97078bc9acc7911783f2447016e10 Unknown
30692f9806e33a7b5d8b599b73d7ca33dbfefb0abdfc1578052a101f2e64b3cd Video_Games
"""
SHA256_2023 = {
    category: digits
    for digits, category in (line.split() for line in _SHA256_2023.strip().splitlines())
}
"""Category -> SHA-256 of its 0-core file."""

_MCAULEY = "https://mcauleylab.ucsd.edu/public_datasets/data"
_NO_LICENCE = "no licence is given, the reviews are Amazon's and their writers'; the publisher asks"


def amazon_2014(category: str) -> Dataset:
    """Returns the five-core reviews of a category, 1996 to 2014."""
    folder = "https://snap.stanford.edu/data/amazon/productGraph/categoryFiles"
    return Dataset(
        title=f"Amazon reviews 1996-2014, {category}, five-core",
        layout="amazon_2014",
        files=(
            File(f"{folder}/reviews_{category}_5.json.gz"),
            File(f"{folder}/meta_{category}.json.gz", is_for_titles=True),
        ),
        licence=f"{_NO_LICENCE} to cite He and McAuley (WWW 2016), McAuley et al. (SIGIR 2015)",
        licence_address="https://jmcauley.ucsd.edu/data/amazon/",
    )


def amazon_2018(category: str) -> Dataset:
    """Returns the five-core reviews of a category, 1996 to 2018."""
    return Dataset(
        title=f"Amazon reviews 1996-2018, {category}, five-core",
        layout="amazon_2018",
        files=(
            File(f"{_MCAULEY}/amazon_v2/categoryFilesSmall/{category}_5.json.gz"),
            File(f"{_MCAULEY}/amazon_v2/metaFiles2/meta_{category}.json.gz", is_for_titles=True),
        ),
        licence=f"{_NO_LICENCE} to cite Ni, Li and McAuley (EMNLP 2019)",
        licence_address="https://nijianmo.github.io/amazon/index.html",
    )


def amazon_2023(category: str) -> Dataset:
    """Returns the five-core ratings of a category, 1996 to 2023; some categories have none."""
    return _amazon_2023(category, core=5)


def amazon_2023_all(category: str) -> Dataset:
    """Returns all ratings of a category, 1996 to 2023."""
    return _amazon_2023(category, core=0)


def _amazon_2023(category: str, *, core: int) -> Dataset:
    folder = f"{_MCAULEY}/amazon_2023"
    return Dataset(
        title=f"Amazon reviews 1996-2023, {category}, {'five-core' if core else 'all ratings'}",
        layout="amazon_2023",
        files=(
            File(
                f"{folder}/benchmark/{core}core/rating_only/{category}.csv.gz",
                checksum="" if core else f"sha256:{SHA256_2023[category]}",
            ),
            File(f"{folder}/raw/meta_categories/meta_{category}.jsonl.gz", is_for_titles=True),
        ),
        licence=f"{_NO_LICENCE} to cite Hou et al. (arXiv:2403.03952)",
        licence_address="https://amazon-reviews-2023.github.io/",
    )
