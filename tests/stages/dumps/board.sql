-- MySQL dump 10.13  Distrib 8.0.36, for Linux (x86_64)
-- A small board as phpBB stores one, written for the tests: posts of phpBB 3.0 (BBCode with a mark, escaped) and of 3.2 (XML).

DROP TABLE IF EXISTS `phpbb_posts`;
CREATE TABLE `phpbb_posts` (
  `post_id` int unsigned NOT NULL AUTO_INCREMENT,
  `topic_id` int unsigned NOT NULL DEFAULT '0',
  `forum_id` int unsigned NOT NULL DEFAULT '0',
  `poster_id` int unsigned NOT NULL DEFAULT '0',
  `poster_ip` varchar(40) NOT NULL DEFAULT '',
  `post_time` int unsigned NOT NULL DEFAULT '0',
  `post_subject` varchar(255) NOT NULL DEFAULT '',
  `post_text` mediumtext NOT NULL,
  `bbcode_uid` varchar(8) NOT NULL DEFAULT '',
  PRIMARY KEY (`post_id`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;
INSERT INTO `phpbb_posts` VALUES
(1,1,2,2,'192.0.2.1',1300000000,'Bread stays pale','My loaf comes out pale &amp; soft. I bake it at [b:2k9x1c7a]180 degrees[/b:2k9x1c7a].\nWhat am I doing wrong? <!-- s:( --><img src=\"{SMILIES_PATH}/icon_sad.gif\" alt=\":(\" title=\"Sad\" /><!-- s:( -->','2k9x1c7a'),
(2,2,2,4,'192.0.2.4',1300000050,'Sourdough calendar','<t>When do you feed your starter if you are away for a week?</t>',''),
(3,1,2,3,'192.0.2.3',1300000100,'Re: Bread stays pale','[quote=\"marta\":9f3b2d1e]I bake it at [b:9f3b2d1e]180 degrees[/b:9f3b2d1e].[/quote:9f3b2d1e]\nThat is not hot enough: start at 240 with steam, then go down after fifteen minutes.','9f3b2d1e'),
(4,1,2,2,'192.0.2.1',1300000300,'Re: Bread stays pale','Steam, how? My oven has none.',''),
(5,1,2,2,'192.0.2.1',1300000310,'Re: Bread stays pale','I do have a cast iron pot, though.',''),
(6,1,2,3,'192.0.2.3',1300000400,'Re: Bread stays pale','Then use the pot:\n[list=1:7aa01c2b][*:7aa01c2b]heat it empty[/*:m:7aa01c2b][*:7aa01c2b]put the dough in, lid on[/*:m:7aa01c2b][*:7aa01c2b]take the lid off after twenty minutes[/*:m:7aa01c2b][/list:o:7aa01c2b]','7aa01c2b'),
(7,2,2,3,'192.0.2.3',1300000500,'Re: Sourdough calendar','<r><QUOTE author=\"ole\"><s>[quote=\"ole\"]</s>if you are away for a week<e>[/quote]</e></QUOTE>Put it into the <B><s>[b]</s>fridge<e>[/b]</e></B>, it sleeps there for two.<br/>\nMine did <E>:)</E></r>',''),
(8,3,2,1,'192.0.2.9',1300000600,'Cheap ovens','[img]http://ads.example/oven.png[/img]',''),
(9,4,3,5,'192.0.2.5',1300000700,'How do I count hydration?','<r>Is there a formula?<br/>\n<CODE><s>[code]</s>water = flour &lt; 1000\n  ? 0.7 : 0.65<e>[/code]</e></CODE></r>','');

DROP TABLE IF EXISTS `phpbb_topics`;
CREATE TABLE `phpbb_topics` (
  `topic_id` int unsigned NOT NULL AUTO_INCREMENT,
  `forum_id` int unsigned NOT NULL DEFAULT '0',
  `topic_title` varchar(255) NOT NULL DEFAULT '',
  `topic_views` int unsigned NOT NULL DEFAULT '0',
  PRIMARY KEY (`topic_id`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;
INSERT INTO `phpbb_topics` VALUES (1,2,'Bread stays pale &amp; soft',412),(2,2,'Sourdough calendar',77),(3,2,'Cheap ovens',3),(4,3,'How do I count hydration?',19),(5,3,'A topic whose posts were pruned',1);

DROP TABLE IF EXISTS `phpbb_users`;
CREATE TABLE `phpbb_users` (
  `user_id` int unsigned NOT NULL AUTO_INCREMENT,
  `username` varchar(255) NOT NULL DEFAULT '',
  `user_password` varchar(255) NOT NULL DEFAULT '',
  `user_email` varchar(100) NOT NULL DEFAULT '',
  PRIMARY KEY (`user_id`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;
INSERT INTO `phpbb_users` VALUES (1,'Anonymous','',''),(2,'marta','$H$9hunter2hash','marta@example.org'),(3,'baker_jo','$H$9secrethash','jo@example.org'),(4,'ole','$H$9otherhash','ole@example.org'),(5,'kim','$H$9lasthash','kim@example.org');
-- Dump completed on 2026-03-01 10:00:00
