"""The scanner of SQL dumps: every dialect, and every edge that real dumps were seen to have."""

from __future__ import annotations

import io

import pytest

from pipeline.extractors.sql_scanner import Broken, CreateTable, DropTable, Event, Row, Rows, scan

MYSQL = "-- MySQL dump 10.13\n"
POSTGRES = "-- PostgreSQL database dump\n"
SQLITE = "PRAGMA foreign_keys=OFF;\n"
TSQL = "USE [forum]\nGO\n"


def events(dump: str | bytes, **settings: object) -> list[Event]:
    """All events of a dump, rows one by one."""
    found = scan(io.BytesIO(dump.encode() if isinstance(dump, str) else dump), **settings)  # type: ignore[arg-type]
    return [part for event in found for part in (event.rows() if isinstance(event, Rows) else [event])]


def created(dump: str | bytes) -> list[tuple[str, tuple[str, ...], tuple[str, ...]]]:
    """The tables that a dump defines: name, columns, primary key."""
    return [(event.name, event.columns, event.primary_key) for event in events(dump) if isinstance(event, CreateTable)]


def values(dump: str | bytes, table: str = "t") -> list[tuple[str | None, ...]]:
    """The values of a table's rows; nothing in the dump may be broken."""
    found = events(dump)
    assert [event for event in found if isinstance(event, Broken)] == []
    return [event.values for event in found if isinstance(event, Row) and event.table == table]


def test_mysqldump() -> None:
    """A table with its key, its rows in the order of CREATE TABLE, and DROP TABLE come as events; all else brings none."""
    dump = MYSQL + (
        "/*!40101 SET NAMES utf8mb4 */;\nDROP TABLE IF EXISTS `posts`;\nCREATE TABLE `posts` (\n  `id` int(11) NOT NULL AUTO_INCREMENT,\n"
        "  `body` text COLLATE utf8_bin COMMENT 'has ) , and ''quotes''',\n  PRIMARY KEY (`id`),\n  KEY `k` (`body`(10))\n) ENGINE=InnoDB;\n"
        "LOCK TABLES `posts` WRITE;\n/*!40000 ALTER TABLE `posts` DISABLE KEYS */;\nINSERT INTO `posts` VALUES (1,'a'),(2,NULL);\nUNLOCK TABLES;\n"
    )
    columns = ("id", "body")
    assert created(dump) == [("posts", columns, ("id",))]
    assert [event for event in events(dump) if not isinstance(event, CreateTable)] == [
        DropTable("posts"),
        Row("posts", columns, ("1", "a"), 0),
        Row("posts", columns, ("2", None), 1),
    ]


def test_mysql_escapes() -> None:
    """Backslash escapes, doubled quotes, double quotes as strings and adjacent strings are MySQL's."""
    dump = MYSQL + r"""INSERT INTO t VALUES ('it''s \'q\' \"d\"','nl\nand\ttab\r\0\Z\b\% \_ \q \\n',"say ""hi"" 'x' \"",'con' "cat" ' lit');"""
    assert values(dump) == [("it's 'q' \"d\"", "nl\nand\ttab\r\0\x1a\b\\% \\_ q \\n", "say \"hi\" 'x' \"", "concat lit")]


def test_mysql_values_of_other_kinds() -> None:
    """Hex, bits, introducers and national strings are text where they are UTF-8; numbers and booleans stay as written."""
    dump = MYSQL + "INSERT INTO t VALUES (0x4869,X'00FF',b'101',_binary 'a\\0\\'',_latin1 0xE9,_utf8mb4'x',N'n',-1.50,1e-7,TRUE,.5);"
    assert values(dump) == [("Hi", "0x00FF", "\x05", "a\0'", "é", "x", "n", "-1.50", "1e-7", "TRUE", ".5")]


def test_conditional_comments() -> None:
    """What stands in MySQL's conditional comments counts: a value, a statement, a column. Other comments do not."""
    dump = MYSQL + (
        "/*M!999999\\- enable the sandbox mode */ \nCREATE TABLE t (a int /* , x int */, /*!50705 b blob, */ c text -- d int,\n);\n"
        "INSERT INTO t VALUES (1,/*!50705 0x41,*/'c'); # no; comment (\n/*!40000 INSERT INTO t VALUES (2,'b','/* no comment */') */;\n"
    )
    assert values(dump) == [("1", "A", "c"), ("2", "b", "/* no comment */")]


def test_no_backslash_escapes() -> None:
    """After SET sql_mode='NO_BACKSLASH_ESCAPES,ANSI_QUOTES' a backslash is a backslash and double quotes hold names."""
    dump = "SET NAMES utf8mb4;\nSET sql_mode='NO_BACKSLASH_ESCAPES,ANSI_QUOTES';\nINSERT INTO \"t\" VALUES (1,'C:\\'),(2,'it''s \\n');\n"
    assert values(dump) == [("1", "C:\\"), ("2", "it's \\n")]


def test_upserts_and_forms_of_insert() -> None:
    """REPLACE, IGNORE, VALUE, SET, ON DUPLICATE KEY and columns in another order all bring their rows."""
    dump = MYSQL + (
        "CREATE TABLE t (id int PRIMARY KEY, a text);\nINSERT IGNORE INTO t VALUES (1,'one');\nREPLACE INTO t (a,id) VALUES ('two',2);\n"
        "INSERT INTO t (id,a) VALUES (3,'x;'),(4,'y') ON DUPLICATE KEY UPDATE a=CONCAT('(',VALUES(a));\ninsert into t value (5,'z');\n"
        "INSERT INTO t SET id=6, a='set, (', t.id=7;\n"
    )
    rows = [event for event in events(dump) if isinstance(event, Row)]
    assert [dict(zip(row.columns, row.values, strict=True)) for row in rows[:-1]] == [
        {"id": "1", "a": "one"}, {"id": "2", "a": "two"}, {"id": "3", "a": "x;"}, {"id": "4", "a": "y"}, {"id": "5", "a": "z"},
    ]  # fmt: skip
    assert (rows[-1].columns, rows[-1].values) == (("id", "a", "id"), ("6", "set, (", "7"))


def test_defaults_of_columns_left_out() -> None:
    """A literal default fills a column that the INSERT leaves out or calls DEFAULT; counters and functions are left out."""
    dump = MYSQL + (
        "CREATE TABLE t (id int AUTO_INCREMENT PRIMARY KEY, e enum('x,y','z)') DEFAULT 'x,y', n int DEFAULT -1, at datetime DEFAULT now(), "
        "s text);\nINSERT INTO t (s) VALUES ('a');\nINSERT INTO t (s,e) VALUES ('b',DEFAULT);\n"
    )
    rows = [event for event in events(dump) if isinstance(event, Row)]
    assert [(row.columns, row.values) for row in rows] == [(("s", "e", "n"), ("a", "x,y", "-1")), (("s", "e", "n"), ("b", "x,y", "-1"))]


def test_delimiter_and_routines() -> None:
    """Statements in the bodies of procedures and triggers bring no rows, with and without DELIMITER."""
    dump = MYSQL + (
        "DELIMITER ;;\nCREATE PROCEDURE p() BEGIN INSERT INTO t VALUES (666); SELECT 'x;;y'; END ;;\nDELIMITER $$\n"
        "CREATE FUNCTION f() BEGIN INSERT INTO t VALUES (667); END$$\nDELIMITER ;\nCREATE TRIGGER a AFTER INSERT ON t FOR EACH ROW BEGIN "
        "IF 1 THEN INSERT INTO t VALUES (668); END IF; SET @a = CASE WHEN 1 THEN 2 END; INSERT INTO t VALUES (669); END;\n"
        "INSERT INTO t VALUES (1);\n"
    )
    assert values(dump) == [("1",)]


POINT = "0x000000000101000000000000000000F03F00000000000000C0"


def test_expressions() -> None:
    """What dumping programs write around values is worked out; what only a database knows stays as written."""
    dump = MYSQL + "INSERT INTO t VALUES (CONCAT('f(',',',')'),(1+2),LENGTH('abc'),NOW(),ST_GeomFromText('CIRCLE(1)'),ST_GeomFromText('POINT(1 -2)'),CAST('x' AS CHAR(5)));"
    assert values(dump) == [("f(,)", "3", "3", "NOW()", "ST_GeomFromText('CIRCLE(1)')", POINT, "x")]


def test_nested_replace_is_bounded() -> None:
    """An expression that would grow without end is left as it is written."""
    inner = "'a'"
    for _ in range(35):
        inner = f"replace({inner},'a','aaaa')"
    assert values(SQLITE + f"INSERT INTO t VALUES({inner});") == [(inner,)]
    deep = "(" * 500 + "1" + ")" * 500
    assert values(SQLITE + f"INSERT INTO t VALUES({deep});") == [(deep,)]


def test_postgres_inserts() -> None:
    """Standard strings, E'..' strings, dollar quotes, U&'..', arrays, casts and bytea are PostgreSQL's."""
    dump = POSTGRES + (
        'SET standard_conforming_strings = on;\nCREATE TABLE public."T""q" (id int, "Col, A" text DEFAULT \'a,b);\', c text[]);\n'
        "INSERT INTO public.\"T\"\"q\" VALUES (1,'it''s \\n stays',ARRAY['x,y','z',NULL]),(2,E'esc\\'d\\ttab\\x41\\u00e9\\\\\\ud83d\\ude00',NULL),"
        "(3,$$dollar 'quoted'; $x$ text$$,'{a,NULL}'::text[]),\n (4,U&'d\\0061t\\+000061',decode('00ff','hex')),(5,'a'\n 'b',$f$1$f$::character varying(5))"
        " ON CONFLICT DO NOTHING;\nINSERT INTO \"T\"\"q\" VALUES (6);\n"
    )
    assert values(dump, 'T"q') == [
        ("1", "it's \\n stays", '{"x,y",z,NULL}'),
        ("2", "esc'd\ttabAé\\\U0001f600", None),
        ("3", "dollar 'quoted'; $x$ text", "{a,NULL}"),
        ("4", "data", "0x00FF"),
        ("5", "ab", "1"),
        ("6",),
    ]


def test_postgres_function_bodies() -> None:
    """INSERT and COPY inside dollar quotes are text of a function."""
    dump = POSTGRES + (
        "CREATE FUNCTION f() RETURNS text AS $body$ BEGIN INSERT INTO t VALUES ('$$'); RETURN 'COPY x FROM stdin;\nfake\n\\.\n'; END $body$;\n"
        "\\connect other\nINSERT INTO t VALUES ('real');\n"
    )
    assert values(dump) == [("real",)]


def test_standard_conforming_strings_off() -> None:
    """With standard_conforming_strings off a backslash escapes in plain strings too."""
    dump = POSTGRES + "SET standard_conforming_strings = off;\nINSERT INTO t VALUES ('a\\'b\\n\\101'),('c\\\\');\n"
    assert values(dump) == [("a'b\nA",), ("c\\",)]


def test_copy_text() -> None:
    r"""COPY data: \N, escapes of all kinds, an empty cell, own delimiter and null, some columns only, CRLF."""
    dump = POSTGRES + (
        "CREATE TABLE t (id int, s text, b bool);\nCOPY public.t (id, s, b) FROM stdin;\n1\ttab\\there nl\\nback\\\\slash\tt\n2\t\\N\tf\n"
        "3\toct\\101 hex\\x42 naïve\t\n\\.\n\nCOPY t FROM stdin;\n4\t'q' -- c;\t\\\\N\r\n\\.\r\nCOPY t (b, id) FROM stdin WITH DELIMITER '|' NULL '';\nx\\|y|7\n|8\n\\.\n"
        "COPY t TO '/tmp/x';\n"
    )
    assert values(dump) == [
        ("1", "tab\there nl\nback\\slash", "t"), ("2", None, "f"), ("3", "octA hexB naïve", ""), ("4", "'q' -- c;", "\\N"), ("x|y", "7"), (None, "8"),
    ]  # fmt: skip


def test_copy_csv() -> None:
    """COPY in CSV: quotes over several lines, the header is no row, only the bare null string is NULL."""
    dump = POSTGRES + (
        "COPY t (a, b) FROM stdin WITH (FORMAT csv, HEADER true, NULL 'NIL');\na,b\n\"multi\nline, \"\"q\"\"\",NIL\n6,\"NIL\"\n\\.\n"
        "INSERT INTO t VALUES ('after','x');\n"
    )
    assert values(dump) == [('multi\nline, "q"', None), ("6", "NIL"), ("after", "x")]


def test_sqlite_dump() -> None:
    """Line breaks by replace and char, hex integers, odd names, and a column called key are SQLite's."""
    dump = SQLITE + (
        'CREATE TABLE IF NOT EXISTS "weird ""name""" ([id] integer primary key, key TEXT, "b" blob, any);\n'
        "INSERT INTO \"weird \"\"name\"\"\" VALUES(1,'it''s \\',X'00FF41',1.0e+20);\n"
        "INSERT INTO \"weird \"\"name\"\"\" VALUES(2,replace(replace('a\\r\\nb','\\r',char(13)),'\\n',char(10)),X'',0x1F);\n"
        "INSERT OR REPLACE INTO \"weird \"\"name\"\"\" (id,key) VALUES(3,'four'||' cat'),(4,unistr('a\\u000a\\\\'));\n"
        "CREATE TRIGGER g AFTER INSERT ON x BEGIN INSERT INTO nolog VALUES('x;y'); END;\nCOMMIT;\n"
    )
    name = 'weird "name"'
    assert created(dump) == [(name, ("id", "key", "b", "any"), ("id",))]
    assert values(dump, name) == [
        ("1", "it's \\", "0x00FF41", "1.0e+20"), ("2", "a\r\nb", "", "31"), ("3", "four cat"), ("4", "a\n\\"),
    ]  # fmt: skip


def test_tsql_script() -> None:
    """Brackets, N'..', GO, statements without semicolons, CAST and sums of strings are T-SQL's; identity columns are not given."""
    dump = TSQL + (
        "IF EXISTS (SELECT 1 FROM x)\nBEGIN\n\tDROP TABLE [dbo].[t];\nEND\nGO\nCREATE TABLE [dbo].[t](\n\t[id] [int] IDENTITY(1,1) NOT NULL,\n\t[s] [nvarchar](50) NULL,\n"
        " CONSTRAINT [PK] PRIMARY KEY CLUSTERED \n(\n\t[id] ASC\n)WITH (PAD_INDEX = OFF) ON [PRIMARY]\n) ON [PRIMARY]\n\nGO\nSET IDENTITY_INSERT [dbo].[t] ON \n"
        "INSERT [dbo].[t] ([id], [s]) VALUES (1, N'it''s \\')\nINSERT [dbo].[t] ([id], [s]) VALUES (2, CAST(N'x' AS NVarChar(50)))\nGO\n"
        "CREATE PROCEDURE p AS\nINSERT INTO [dbo].[t] VALUES ('no row')\nGO\nINSERT INTO t VALUES (N'a' + CHAR(10) + N'b')\n"
    )
    assert created(dump) == [("t", ("id", "s"), ("id",))]
    assert values(dump) == [("1", "it's \\"), ("2", "x"), ("a\nb",)]


def test_utf16() -> None:
    """A script in UTF-16, as SQL Server's tools write it, is read like one in UTF-8."""
    dump = TSQL + "INSERT [t] VALUES (N'naïve 日本')\nGO\n"
    assert values(dump.encode("utf-16")) == values(dump.encode("utf-16-le")) == [("naïve 日本",)]


def test_byte_order_mark_and_crlf() -> None:
    """A BOM and CRLF line ends change nothing outside strings and stay in them."""
    dump = b"\xef\xbb\xbf" + MYSQL.encode() + b"INSERT INTO t VALUES\r\n(1,'a\r\nb'),\r\n(2,'c');\r\n-- end\r\n"
    assert values(dump) == [("1", "a\r\nb"), ("2", "c")]


@pytest.mark.parametrize(
    ("names", "charset", "text"),
    [("SET NAMES latin1;", "cp1252", "naïve “q”"), ("SET NAMES cp1251;", "cp1251", "привет"), ("SET NAMES gbk;", "gbk", "誠\\實"), ("SET NAMES sjis;", "cp932", "表示")],
)
def test_declared_charset(names: str, charset: str, text: str) -> None:
    """SET NAMES decides how bytes become text, also where half a character looks like a backslash."""
    statement = "INSERT INTO `t` VALUES ('" + text.replace("\\", "\\\\") + "'),('x');\n"
    assert values((MYSQL + names + "\n").encode() + statement.encode(charset)) == [(text,), ("x",)]


def test_bytes_that_are_no_text() -> None:
    """Bytes that are no UTF-8 are not lost: Windows-1252, or hex when control bytes show that they are binary; neighbours keep theirs."""
    rows = [b"(%d,'caf\xe9','\xff\x00\x01','\xc3\xa9')" % n for n in range(40)]
    dump = MYSQL.encode() + b"INSERT INTO `t` VALUES " + b",".join(rows) + b";"
    assert values(dump) == [(str(n), "café", "0xFF0001", "é") for n in range(40)]


def test_plain_and_odd_rows_mixed() -> None:
    """The pattern for many plain rows and the reader of single rows give the same values, in order."""
    plain, odd = r"(1,'a\'b','it''s',NULL,0x41,N'n',_binary 'x',-1.5)", r"(1,'a\'b','it' '''s',NULL,0x41,N'n' /* c */,_binary 'x',-1.5)"
    dump = MYSQL + "INSERT INTO `t` VALUES " + ",\n".join([plain] * 40 + [odd] + [plain] * 3 + [odd]) + ";\n"
    dump += "".join(f"INSERT INTO `t` VALUES {plain};\n" for _ in range(40))
    assert values(dump) == [("1", "a'b", "it's", None, "A", "n", "x", "-1.5")] * 85


def test_heads_that_look_like_rows() -> None:
    """Columns in single quotes, which SQLite allows, are not taken for a row when their statement repeats."""
    dump = SQLITE + "".join(f"INSERT INTO t('a','b') VALUES('{n}','x');\n" for n in range(60))
    assert values(dump) == [(str(n), "x") for n in range(60)]


def test_database_twice() -> None:
    """A file that holds the database twice gives its rows twice, and their index goes on."""
    once = "DROP TABLE IF EXISTS `t`;\nCREATE TABLE `t` (a int);\nINSERT INTO `t` VALUES (1),(2);\n"
    rows = [event for event in events(MYSQL + once * 2) if isinstance(event, Row)]
    assert [(row.values, row.index) for row in rows] == [(("1",), 0), (("2",), 1), (("1",), 2), (("2",), 3)]


def test_tables_of_the_same_name() -> None:
    """A second schema's or database's table of the same name is called with it; public and dbo are not named."""
    dump = POSTGRES + 'CREATE TABLE a.t (x int);\nCREATE TABLE b.t (y int, z int);\nINSERT INTO a.t VALUES (1);\nINSERT INTO b.t VALUES (2,3);\n'
    assert [(e.table, e.columns) for e in events(dump) if isinstance(e, Row)] == [("t", ("x",)), ("b.t", ("y", "z"))]
    dump = MYSQL + "USE `a`;\nINSERT INTO `t` VALUES (1);\nUSE `b`;\nINSERT INTO `t` VALUES (2);\nINSERT INTO `a`.`t` VALUES (3);\n"
    assert [(e.table, e.values) for e in events(dump) if isinstance(e, Row)] == [("t", ("1",)), ("b.t", ("2",)), ("t", ("3",))]


def test_names_are_found_in_any_case() -> None:
    """A table that is written in another case than in CREATE TABLE has its columns; PostgreSQL folds names without quotes."""
    dump = MYSQL + "CREATE TABLE Posts (Id int, Body text);\nINSERT INTO posts (id, body) VALUES (1,'a');\n"
    assert events(dump)[1:] == [Row("Posts", ("Id", "Body"), ("1", "a"), 0)]
    dump = POSTGRES + "CREATE TABLE Posts (Id int);\nINSERT INTO POSTS VALUES (1);\n"
    assert events(dump)[1:] == [Row("posts", ("id",), ("1",), 0)]


def test_inherited_columns() -> None:
    """INHERITS and LIKE bring the columns of their tables first."""
    dump = POSTGRES + "CREATE TABLE a (x int, y int);\nCREATE TABLE t (z int) INHERITS (a);\nCREATE TABLE u (LIKE a INCLUDING ALL, w int);\n"
    assert [e.columns for e in events(dump) if isinstance(e, CreateTable)] == [("x", "y"), ("x", "y", "z"), ("x", "y", "w")]


def test_generated_columns() -> None:
    """A generated column is left out where the rows leave it out."""
    dump = SQLITE + "CREATE TABLE t (a int, g int GENERATED ALWAYS AS (a+1) STORED, b text);\nINSERT INTO t VALUES(1,'x');\n"
    assert events(dump)[1:] == [Row("t", ("a", "b"), ("1", "x"), 0)]


def test_unknown_columns_are_numbered() -> None:
    """Rows of a table that is nowhere defined have columns called column1, column2."""
    assert events(MYSQL + "INSERT INTO t VALUES (1,'a');") == [Row("t", ("column1", "column2"), ("1", "a"), 0)]


def test_backslash_in_a_dump_of_unknown_origin() -> None:
    """Where nothing tells the dialect, a row that cannot be read with backslash escapes shows that there are none."""
    assert values("INSERT INTO t VALUES (1,'C:\\'),(2,'D:\\');\n") == [("1", "C:\\"), ("2", "D:\\")]
    assert values("INSERT INTO t VALUES (1,'it\\'s'),(2,'b');\n") == [("1", "it's"), ("2", "b")]


def test_settings_of_the_session_do_not_confuse() -> None:
    """Variables, an empty sql_mode, a charset without a codec and QUOTED_IDENTIFIER are taken as what they are."""
    dump = "SET NAMES klingon;\nSET @OLD_SQL_MODE=@@SQL_MODE, SQL_MODE='NO_AUTO_VALUE_ON_ZERO';\nSET @x = '(', sql_mode := '';\nINSERT INTO t VALUES ('a\\'b',\"c\");\n"
    assert values(dump) == [("a'b", "c")]
    assert values(TSQL + 'SET QUOTED_IDENTIFIER OFF\nGO\nINSERT t VALUES ("a", N\'b\')\nGO\n') == [("a", "b")]
