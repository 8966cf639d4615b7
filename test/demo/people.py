"""Prints COUNT people as CSV, the same ones every time: people.py COUNT

Card numbers are of the ranges that card networks reserve for tests, with a valid check digit.
"""

import csv
import sys
from itertools import product

GIVEN = (
    "Zoë José Søren Łucja Šárka Françoise Ελένη Γιώργος Анна Дмитро Ђорђе "
    "فاطمة يوسف נועה דוד अनीता राजेश 小芳 建国 さくら 健太 지민 민준 สมชาย มาลี Nguyễn"
).split()
FAMILY = (
    "Ibáñez Ødegård Żółkiewska Müller-Lüdenscheidt Παπαδόπουλος Кузнецова Шевченко "
    "الخوارزمي ביאליק त्रिपाठी 司馬 諸葛 小笠原 황보 ศรีสุวรรณ Trần"
).split()
NOTES = [
    "Allergic to penicillin; naïve café régime, résumé on file",
    "Αλλεργία στην πενικιλίνη, καλεί μετά τις πέντε",
    "Аллергия на пенициллин, звонить после пяти",
    "حساسية من البنسلين، الاتصال بعد الخامسة",
    "אלרגיה לפניצילין, להתקשר אחרי חמש",
    "पेनिसिलिन से एलर्जी, पाँच बजे के बाद फ़ोन करें",
    "青霉素过敏，五点以后打电话",
    "ペニシリンアレルギー、五時以降に電話",
    "페니실린 알레르기, 다섯 시 이후 전화",
    "แพ้เพนิซิลลิน โทรหลังห้าโมงเย็น",
    "Penicillin 🚫💊, call after 🕔 👩🏽‍⚕️",
    'He said: "never, ever",\nand a second line',
    None,
]
CARD_PREFIXES = ["411111", "400000", "555555", "510510", "222300", "378282"]


def check_digit(digits):
    """ISO/IEC 7812-1, Annex B (Luhn)."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        doubled = int(digit) * (2 - place % 2)
        total += doubled // 10 + doubled % 10
    return str(-total % 10)


def card(number):
    prefix = CARD_PREFIXES[number % len(CARD_PREFIXES)]
    length = 15 if prefix.startswith("37") else 16
    digits = prefix + str(number).zfill(length - 1 - len(prefix))
    return digits + check_digit(digits)


def people(count):
    names = list(product(GIVEN, FAMILY))
    for number in range(1, count + 1):
        given, family = names[number * 7 % len(names)]
        note = NOTES[number % len(NOTES)]
        yield (
            number,
            f"@member{number:06}",
            f"{given} {family} {number}",
            f"person.{number}@example{number % 7}.org",
            card(number),
            note and f"{note} (#{number})",
        )


def main():
    sys.stdout.reconfigure(encoding="utf-8", newline="")
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["id", "handle", "name", "email", "card", "note"])
    writer.writerows(people(int(sys.argv[1])))


main()
