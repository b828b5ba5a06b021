-- MySQL dump 10.13  Distrib 8.0.36, for Linux (x86_64)
-- A small wiki as MediaWiki 1.35 and later store one, written for the tests: a page's text hangs on its slot and content.

CREATE TABLE `content` (
  `content_id` bigint unsigned NOT NULL AUTO_INCREMENT,
  `content_size` int unsigned NOT NULL,
  `content_address` varbinary(255) NOT NULL,
  PRIMARY KEY (`content_id`)
) ENGINE=InnoDB DEFAULT CHARSET=binary;
INSERT INTO `content` VALUES (21,60,'tt:301'),(22,90,'tt:302'),(23,30,'tt:303');

CREATE TABLE `page` (
  `page_id` int unsigned NOT NULL AUTO_INCREMENT,
  `page_namespace` int NOT NULL,
  `page_title` varbinary(255) NOT NULL,
  `page_latest` int unsigned NOT NULL,
  PRIMARY KEY (`page_id`)
) ENGINE=InnoDB DEFAULT CHARSET=binary;
INSERT INTO `page` VALUES (1,0,'Rye_bread',12),(2,0,'Roggenbrot',13),(3,0,'Lost_page',99);

CREATE TABLE `slots` (
  `slot_revision_id` bigint unsigned NOT NULL,
  `slot_role_id` smallint unsigned NOT NULL,
  `slot_content_id` bigint unsigned NOT NULL,
  PRIMARY KEY (`slot_revision_id`,`slot_role_id`)
) ENGINE=InnoDB DEFAULT CHARSET=binary;
INSERT INTO `slots` VALUES (11,1,21),(12,1,22),(13,1,23);

CREATE TABLE `text` (
  `old_id` int unsigned NOT NULL AUTO_INCREMENT,
  `old_text` mediumblob NOT NULL,
  `old_flags` tinyblob NOT NULL,
  PRIMARY KEY (`old_id`)
) ENGINE=InnoDB DEFAULT CHARSET=binary;
INSERT INTO `text` VALUES
(301,'\'\'\'Rye bread\'\'\' is made of rye.','utf-8'),
(302,'{{Infobox|name=Rye}}\'\'\'Rye bread\'\'\' is a [[bread|loaf]] made of [[rye]] flour.<ref>A book.</ref>\n\n== Making ==\n* Feed the \'\'starter\'\'.\n* Mix, wait, bake.\n\n[[Category:Bread]]','utf-8'),
(303,'#REDIRECT [[Rye bread]]','utf-8');
