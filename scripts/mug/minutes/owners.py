r"""Who is to do what a sentence asks for, and until when, where the sentence itself says it.

    那小孙你把新的排班表排一下，周五发到群里。     小孙          周五
    好，课件就我来改，下周三之前换完。             the speaker   下周三之前
    那你把日程排出来。                             nobody: the transcript does not say who was meant

Rules, no model. They prefer silence to a guess: a name must stand where somebody is asked or named as responsible; a
supposition, a question about oneself, what is past or what somebody else said names nobody, and two different people
in one sentence name nobody. What is returned is a part of the sentence, or its speaker.
"""

from __future__ import annotations

import re
from collections.abc import Sequence


def _either(*kinds: str) -> str:
    return rf"(?:{'|'.join(kinds)})"


# ---------------------------------------------------------------------------------------------------------- owners

_CLAUSE = re.compile(r"[，,。；;！!？?…\n]+")
# A clause that holds one of these is no task that somebody has taken or been given.
_NO_TASK = re.compile(
    r"如果|假如|假设|要是|万一|的话|上次|上周|上个月|昨天|前天|去年|刚才|当时|不是我|不用|别让|凭什么|为什么|难道"
    r"|[他她]们?说|(?:老板|领导|客户)说"
    r"|(?<![周期拜明后][一二三四五六日天末])以前"  # 周五以前 and 明天以前 are to come
)
_ASKING = re.compile(r"[吗呢]\Z|谁|要不要|是不是|能不能|可不可以")

# What somebody does who has a task. Verbs of speaking are left out: 我来说一下 is done when it is said.
_DO = _either(
    "弄|搞|做|办|订|定|买|写|改|拟|画|拍|剪|设计|统计|整理|汇总|准备|安排|处理|跟进|跟踪|对接|落实|推进|推动|盯|管|催",
    "核对|核实|核|确认|联系|协调|沟通|通知|组织|起草|申请|采购|预[订定]|登记|打印|打个?电话|印|排|约|取|送|搬",
    "修|补|换|装|配|测试?|上线|部署|更新|维护|提交|提需求|交|报上|报给|报名|建|拉|找|查|问|谈|借|签|贴|上传",
    "收集|(?:收|拿)(?!到)|(?<![天前午晚])要",  # 我周五之前要拿到报价: somebody else is to give it
    "发(?!现|生|展|言|觉|火|烧|愁|挥|达|呆|育|炎)",
    "出(?:一|个|终|初|版|方案|报告)",
    "给[^我不]",
    "负责(?![任人])",
    "牵头|拜访|回复|答复",
)
_OPEN = r"(?!了|过(?![去来])|的|着|不|完了|好了)"  # behind a verb: it is not done yet, and can be
_LATER = _either(
    "回头|会后|散会后?|待会儿?|等会儿?|一会儿|稍后|晚点|马上|尽快|到时候|这两天|这周|本周|下周|之后|随后|亲自|再|先|下班前",
    "(?:[今明后]天|[今明]晚|今儿|明儿|[上下]午|晚上|[下这本]?(?:周|星期|礼拜)[一二三四五六日天末])(?:之前|以前|前)?",
)
_TO_COME = r"(?![^会]*的\Z)"  # behind 我: 我上午发给他的 is past, 我明天会发给你的 is not
_BUT_FIRST = r"(?:那么?|好|行|嗯|对|然后|所以|但是|就|这个|还是|要不|不然|最后|另外|可以|没事|哦|哎|啊)*"

# The speaker takes it over.
_SELF = re.compile(
    _either(
        rf"我来(?:{_DO}{_OPEN}|跟?[吧呀啊]?\Z)",
        rf"我{_LATER}{{0,3}}(?:就|也)?去(?!年){_DO}{_OPEN}",
        rf"(?:\A|[就由]){_BUT_FIRST}我(?:来|去)?负责(?![的过了人任])",
        r"(?:交给|包在|归)我(?![们的了])",
        rf"由我(?:来|去)?{_DO}{_OPEN}",
        # Repetitions are bounded: nested ones without a bound take years over 我跟跟跟跟跟….
        rf"我{_TO_COME}(?:{_LATER}(?:就|也|会|要|把|[跟给和](?!不)[^，]{{1,8}}?){{0,2}}){{1,2}}{_DO}{_OPEN}",
        rf"我{_TO_COME}{_LATER}{{1,3}}(?:就|会|要)?把[^，]{{1,20}}?{_DO}{_OPEN}",
    )
)
_DONE = re.compile("(?<!就[行好])了(?![解结的再])|过(?![程去来的一])")  # further on: 发到群里了, 给他打过电话
_NOT_SELF = re.compile(r"[他她你给叫请帮和跟与同是找发问等]\Z")  # before 我: 发给我, 小王和我去

# How people are called: 小王, 李医生, 张三. By their shape alone full names are taken only with surnames that begin
# few other words (请马上发, 请高度重视), and never with a character that ends a name or stands for one.
_SURNAME = (
    "王李张刘陈杨赵黄吴徐孙胡朱林何郭罗梁宋郑谢韩唐冯董萧程曹袁邓许傅沈曾彭吕苏卢蒋蔡贾丁魏薛叶阎余潘杜戴夏钟汪"
    "田姜范石姚谭廖邹熊陆郝孔白崔康毛邱秦江史顾侯邵孟龙万段钱汤尹黎易武乔贺赖龚文"
)
_ANY_SURNAME = f"[{_SURNAME}高马周方关金严任安于单常明鲁鹿]"
_NO_NAME = (
    "的了是在把来去你我他她们也都就还要会能可不有和跟给对这那个一上下前后大家您谁么吗呢吧啊着过得地"
    "被让请将于与及或但而以之其时间今"
)
_TITLE = _either(
    "总(?:监|经理|裁)?(?![结体部量数共之会是算的要觉])|工(?![作程具资人期厂])",
    "老师|经理|主任|主管|医生|大夫|护士长?|书记|局长|处长|科长|所长|院长|校长|馆长|店长|组长|班长|队长|部长|会长|社长",
    "教授|博士|律师|会计|秘书|助理|师傅|阿姨|大哥|大姐|哥|姐|叔|同学|先生|女士",
)
_CALLED = _either(
    rf"[小老]{_ANY_SURNAME}(?![序峰层期额案面向菜时组区费虎家间心人法务车子落末])",
    rf"{_ANY_SURNAME}{_TITLE}",
    rf"(?<!{_ANY_SURNAME})[{_SURNAME}][^{_NO_NAME}\W\d_a-zA-Z]{{1,2}}",
)
_ASKED_TO = _either(
    "来|去|把|帮|负责|牵头|跟进|跟|和|给|在|尽快|抓紧|先|再|这两天|这周|本周|下周|[今明后]天|周[一二三四五六日末]|月底",
    "会后|回头|联系|整理|准备|安排|核对|确认|统计|汇总|通知|写|改|发|做|出|订|买|提|问|查|盯|催|找|拿|补",
)
_YOU = r"[你您](?!\Z|们|好|别|说|讲|报一|介绍|看|觉|的|刚|是|有|也说)"


def owner_of(text: str, speaker: str, names: Sequence[str] = ()) -> str:
    """Return who is to do it: the speaker, a name as the sentence has it, or nobody ("").

    Args:
        text: the sentence.
        speaker: who said it.
        names: the participants, who may be named without any title.

    >>> owner_of("那小孙你把排班表排一下。", "甲"), owner_of("我来订大巴。", "乙"), owner_of("你周五发我。", "甲")
    ('小孙', '乙', '')
    """
    known = sorted({name for full in names for name in _bare(full) if name in text}, key=len, reverse=True)
    who = _either(*map(re.escape, known), _CALLED)
    given = re.compile(
        "|".join(
            (
                rf"(?:由|请|麻烦|辛苦|拜托|让|叫|派)(?P<a>{who})[你您]?(?={_ASKED_TO}{_OPEN})",
                rf"(?:交给|归)(?P<b>{who})(?=\Z|[吧啊来去负处跟做办管])",
                rf"(?:\A{_BUT_FIRST}|[由是就])(?P<c>{who})[来去]?(?:负责|牵头)(?![的过了人任])",
                rf"\A{_BUT_FIRST}(?P<d>{who})[来去]{_DO}{_OPEN}",
            )
        )
    )
    # Somebody is spoken to, also with a question: 小王你周五前能发吗？ 李医生，你把名单核对一遍。
    spoken_to = re.compile(rf"\A{_BUT_FIRST}(?P<who>{who}) *(?:那|这边|这块)?(?:{_YOU}|\Z)")
    clauses = [clause.strip() for clause in _CLAUSE.split(text) if clause.strip()]
    question = text.rstrip().endswith(("？", "?"))
    found: set[str] = set()
    for clause, following in zip(clauses, [*clauses[1:], ""], strict=True):
        if _NO_TASK.search(clause):
            continue
        if address := spoken_to.search(clause):
            called = address.end() == len(clause)  # and only called: the next clause must ask
            if not called or re.match(rf"(?:那|就|麻烦|辛苦|拜托)?{_YOU}", following):
                found.add(address["who"])
        if _ASKING.search(clause) or (question and not following):
            continue
        found.update(name for match in given.finditer(clause) for name in match.groups() if name)
        found.update(
            speaker
            for match in _SELF.finditer(clause)
            if not _NOT_SELF.search(clause[: match.start()]) and not _DONE.search(clause, match.end())
        )
    found.discard("")
    return found.pop() if len(found) == 1 else ""


def _bare(name: str) -> list[str]:
    """Return how a participant may be named: "张三 (外部)" is 张三; 说话人 1 and no.0 are no names."""
    bare = re.sub(r"\s*[(（].*?[)）]\s*", "", name).strip()
    if len(bare) < 2 or re.search(r"\d|speaker|说话人|发言人|未知|unknown", bare, re.IGNORECASE):
        return []
    return [bare]


# ------------------------------------------------------------------------------------------------------- due dates

_NUMERAL = r"(?:\d{1,3}|[一二两三四五六七八九十百半]{1,4})"
_DAY = r"(?:[12]\d|3[01]|0?[1-9]|[一二三]?十[一二三四五六七八九]?|[一二三四五六七八九])"
_MONTH = r"(?:1[0-2]|0?[1-9]|十[一二]?|[一二三四五六七八九])月份?"
_HOUR = r"(?:\d{1,2}|[一二两三四五六七八九十]{1,3})"
_WEEK = "(?:周|星期|礼拜)"
_NEXT = "(?:下下?个?|这个?|本)"
_DATE = _either(
    rf"(?:(?:20\d\d|[二〇零一二三四五六七八九]{{4}})年)?{_MONTH}(?:{_DAY}[日号]|底|初|[中上下]旬)",
    rf"20\d\d[-/.](?:1[0-2]|0?[1-9])[-/.]{_DAY}",
    rf"{_NEXT}?月(?:底|初|中旬|末)|{_NEXT}月{_DAY}[日号]",
    # 5号, but neither 一号楼 nor the end of a longer number
    rf"(?<![\d十一二三四五六七八九第]){_DAY}号(?![楼线店机门厅馆车院位桌仓柜台包座地码])",
    rf"{_NEXT}{_WEEK}(?:[一二三四五六日天末]|(?![一二三四五六日天末]))|(?<![一二两三几]){_WEEK}[一二三四五六日天末]",
    r"(?:大后|[明后])天|[明今]晚|[明今]早|今天|今儿|明儿",
    r"[今明本]?年底|(?:本|这|下个?)季度末?|下个月|这个月|本月",
)
_TIME = _either(
    rf"(?:[上下]午|早上|晚上|中午|傍晚|凌晨|一早|早)?(?:\d{{1,2}}[:：]\d\d|{_HOUR}点(?:半|[一三]刻|钟|{_HOUR}分)?)",
    "[上下]午|早上|晚上|中午|傍晚|一早",
)
_BEFORE = r"(?:之前|以前|前(?![面台后期天端辈]))"
_DUE = re.compile(
    _either(
        rf"{_NUMERAL}个?(?:工作日|小时|天|{_WEEK}|月|分钟)[之以]?内|{_NEXT}(?:{_WEEK}|月|季度)[之以]?内",
        rf"(?:春节|国庆|元旦|中秋|端午|五一|十一|清明|双十[一二]|开学|放假|年会|过年)(?:节|假期?)?{_BEFORE}",
        rf"(?P<other>(?:[上每]个?|[去前]年){_DATE})",  # past, or again and again
        rf"(?P<date>{_DATE}(?:{_TIME})?)"
        rf"(?P<limit>(?:下班|开会|例会|周会|会议|中午)?{_BEFORE}|为止|[之以]?内)?",
    )
)
_NOT_UNTIL = re.compile(r"的(?!时候)|开始|起(?!草)|到(?![位岗店货付])|[至~\-—]|以后|之后|过后|左右开|份|次")
_VAGUE = {"今天", "今儿", "这个月", "本月", "下个月"}  # said in passing more often than as a date to keep


def due_of(text: str) -> str:
    """Return until when, word for word as the sentence says it, or "".

    A date that only describes something (下周五的大巴), begins something (从周一开始), repeats (每周五) or is past
    (上周五) is none. Of several dates the one that is put as a limit (周三之前) counts; else there is none.

    >>> due_of("那你下周三之前把报价发群里。"), due_of("下周五的大巴我来订。"), due_of("先发初稿，月底前定稿。")
    ('下周三之前', '', '月底前')
    """
    limits: set[str] = set()
    plain: set[str] = set()
    for match in _DUE.finditer(text):
        before, after = text[: match.start()], text[match.end() :]
        if match["other"]:
            continue
        if match["date"] is None or match["limit"]:
            limits.add(match.group())
        elif (
            match.group() not in _VAGUE
            and not _NOT_UNTIL.match(after)
            and not before.endswith(("从", "自", "到", "至"))
        ):
            plain.add(match.group())
    found = limits or plain
    return found.pop() if len(found) == 1 else ""
