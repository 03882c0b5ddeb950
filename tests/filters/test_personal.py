"""Which of the many forms of numbers, addresses and keys are personal, and which only look like it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from espalier.filters.masking import masked_text
from espalier.filters.personal import personal_in

PHONES = """\
+44 20 7946 0958
+33 6 12 34 56 78
+49 171 2345670
+4915112345670
+1 (650) 636-4884
+971 50 123 4567
+86 138 0013 8000
06 12 34 56 78
0171 2345678
030/2345678
(650) 636-4884
650-636-4884
650.636.4884
1-650-636-4884
8 (495) 123-45-67
138 0013 8000
090-1234-5670
98765 43210
(11) 91234-5670
(08) 9876 5430
٠٥٠ ٢٣٤ ٥٦٧٨
Tel: 912 345 678
手机：13800138000
Телефон: 84951234567
Phone number: 6506364884"""
OTHERS = """\
email: ada.l@post.org
email: ünal@köln.de
email: 张三@例子.中国
email: ada [at] post [dot] org
email: ada(at)post.org
card: 4539 1488 0343 6467
card: 4539-1488-0343-6467
card: 3782 822463 10005
card: 2221000000000009
card: 6011000990139424
account: GB82 WEST 1234 5698 7654 32
account: DE89370400440532013000
account: BE68 5390 0754 7034 BANK
identity: 219-09-9998
ip: 84.23.11.9
ip: 2606:4700::1111
key: sk-proj-a8Bd3kLm9Qw2Er5Ty7Ui0Op
key: AKIA4X7QZ2MN8PLK3RTW
key: npm_a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8
key: hooks.slack.com/services/T012AB3CD/B045EF6GH/a1B2c3D4e5"""
NOBODYS = """\
Sort: 12 45 78 23 11
10 000 000 people
1 234 567 890
100.000.000
12-05-2021
12.05.2021
2020 2021 2022
192.168.100.200
version 8.8.4.4
Section 4.12.8.21
355909190063-746
472547338 + 960397912423686
1748503543012
ISBN 978-3-16-148410-0
icon@2x.png
git@github.com:a/b.git
you@yourdomain.com
yourname@company.org
name@example.com
(555) 555-5555
(123) 456-7890
123-45-6789
AKIAIOSFODNN7EXAMPLE
sk-your-api-key-goes-here-please
Nature (1995) 375-380
5309136012499991%
550e8400-e29b-41d4-a716-446655440000
00:1A:2B:3C:4D:5E
the number 1000000007"""


def kinds(text: str) -> list[tuple[str, str]]:
    return [(kind, text[start:end]) for kind, (start, end) in personal_in(text)]


@pytest.mark.parametrize("text", PHONES.splitlines())
def test_telephones_of_many_countries_are_found(text: str) -> None:
    (found,) = kinds(f"नमस्ते → {text} 🙂")
    assert found[0] == "phone"
    assert text.endswith(found[1])


@pytest.mark.parametrize("line", OTHERS.splitlines())
def test_other_things_are_found_by_their_form_and_check(line: str) -> None:
    kind, _, text = line.partition(": ")
    ((found, place),) = kinds(f"é {text} 海")
    assert found == kind
    assert place == text.removesuffix(" BANK")


@pytest.mark.parametrize("text", NOBODYS.splitlines())
def test_what_is_nobodys_is_not_found(text: str) -> None:
    assert not kinds(text)


@given(
    st.text(
        st.characters(exclude_categories=["Cs", "Nd"], exclude_characters="@+.-_[](/*=$€£%:×÷^§"), max_size=20
    ),
    st.sampled_from(["ada.l@post.org", "+44 20 7946 0958", "4539 1488 0343 6467", "84.23.11.9"]),
    st.text(st.characters(categories=["Lo", "Mn", "So"]), max_size=20),
)
def test_only_what_is_personal_is_masked_in_any_script(before: str, personal: str, after: str) -> None:
    masked = masked_text(f"{before} mm {personal} {after}")
    assert masked.startswith(f"{before} mm [")
    assert masked.endswith(f"] {after}")
    assert personal not in masked
