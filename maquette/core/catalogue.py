"""Every sentence that tells a user of a mistake: code -> (what, what to do), in English and Chinese.

1xxx ours · 2xxx usage and config · 3xxx data · 4xxx busy · 5xxx storage · 6xxx numbers · 7xxx incompatible ·
8xxx refused for safety. Names in braces are filled in by the raise site; both languages use the same names.
"""

from typing import NamedTuple


class Entry(NamedTuple):
    en: tuple[str, str]
    zh: tuple[str, str]


CATALOGUE: dict[str, Entry] = {
    # -- 2xxx: usage and config ---------------------------------------------------------------------------------
    "MQ-2001": Entry(
        en=("{path} has no {key!r}", "{near}"),
        zh=("{path} 没有名为 {key!r} 的字段", "{near}"),
    ),
    "MQ-2002": Entry(
        en=("{path} should be {wanted}, but {value} was given", ""),
        zh=("{path} 应为 {wanted}，但给出的是 {value}", ""),
    ),
    "MQ-2003": Entry(
        en=("{path}: no kind {kind!r}", "{near}"),
        zh=("{path}：没有名为 {kind!r} 的种类", "{near}"),
    ),
    "MQ-2004": Entry(
        en=("{path} needs {key!r}", "add it to the recipe, or give it as {key}=…"),
        zh=("{path} 缺少 {key!r}", "请写进配方，或以 {key}=… 的形式给出"),
    ),
    "MQ-2005": Entry(
        en=("this is not readable as {format}: {reason}", "mend the file at the place named"),
        zh=("无法按 {format} 读取：{reason}", "请修正所指位置的内容"),
    ),
    "MQ-2006": Entry(
        en=("no recipe {name!r}", "{near}; `maquette recipes` lists them all"),
        zh=("没有名为 {name!r} 的配方", "{near}；运行 `maquette recipes` 查看全部配方"),
    ),
    "MQ-2007": Entry(
        en=("the override {text!r} is not of the form key=value", "for example model.net.width=128"),
        zh=("覆盖项 {text!r} 不是 key=value 的形式", "例如 model.net.width=128"),
    ),
    "MQ-2008": Entry(
        en=("{kind} models take {accepts}, but this recipe gives {given}", "{hint}"),
        zh=("{kind} 模型需要 {accepts}，但此配方给出 {given}", "{hint}"),
    ),
    "MQ-2009": Entry(
        en=("{path}: {value} is not possible: {reason}", "{todo}"),
        zh=("{path}：{value} 不可用：{reason}", "{todo}"),
    ),
    # -- 3xxx: data ---------------------------------------------------------------------------------------------
    "MQ-3001": Entry(
        en=(
            "this file cannot be read: {reason}",
            "mend or remove it; `maquette data check FOLDER` lists all such files",
        ),
        zh=("无法读取此文件：{reason}", "请修复或移除它；运行 `maquette data check FOLDER` 可列出所有此类文件"),
    ),
    "MQ-3002": Entry(
        en=("there is no {what} here", "{todo}"),
        zh=("这里没有 {what}", "{todo}"),
    ),
    "MQ-3003": Entry(
        en=(
            "{bad} of {total} files cannot be read, more than the {share} allowed (first: {first})",
            "mend or remove them (`maquette data check FOLDER` lists them), or allow more with data.max_bad",
        ),
        zh=(
            "{total} 个文件中有 {bad} 个无法读取，超过允许的 {share}（第一个：{first}）",
            "请修复或移除（`maquette data check FOLDER` 可列出），或调大 data.max_bad",
        ),
    ),
    # -- 4xxx: busy ---------------------------------------------------------------------------------------------
    "MQ-4001": Entry(
        en=("this folder is in use by {holder}", "wait for it, stop it, or choose another --out"),
        zh=("此文件夹正被 {holder} 使用", "请等待或停止它，或换一个 --out"),
    ),
    # -- 5xxx: storage ------------------------------------------------------------------------------------------
    "MQ-5001": Entry(
        en=("could not write: {reason}", "free space or choose another folder; what was there before is untouched"),
        zh=("无法写入：{reason}", "请释放空间或换一个文件夹；原有内容未被改动"),
    ),
    "MQ-5002": Entry(
        en=("{bytes} bytes are needed and {free} are free", "free space or choose another folder"),
        zh=("需要 {bytes} 字节，只剩 {free} 字节", "请释放空间或换一个文件夹"),
    ),
    "MQ-5003": Entry(
        en=("this folder is damaged: {reason}", "use another copy; an intact one matches its MANIFEST.json"),
        zh=("文件夹已损坏：{reason}", "请换用另一份副本；完好的副本应与其 MANIFEST.json 一致"),
    ),
    "MQ-5004": Entry(
        en=("there is no such file or folder", "check the path"),
        zh=("没有这个文件或文件夹", "请检查路径"),
    ),
    "MQ-5005": Entry(
        en=("this already exists", "choose another name, or remove it first"),
        zh=("已经存在", "请换一个名字，或先将其删除"),
    ),
    # -- 6xxx: numbers ------------------------------------------------------------------------------------------
    "MQ-6001": Entry(
        en=(
            "step {step}: the {what} of {player!r} is not finite; training stopped before the update",
            "lower train.optimizers.{player}.lr, set train.clip, or look at the data of this step; `maquette resume` "
            "continues from the last good checkpoint",
        ),
        zh=(
            "第 {step} 步：{player!r} 的 {what} 不是有限数；已在更新之前停止训练",
            "请降低 train.optimizers.{player}.lr、设置 train.clip，或检查这一步的数据；"
            "`maquette resume` 从最近的完好检查点继续",
        ),
    ),
    # -- 7xxx: incompatible -------------------------------------------------------------------------------------
    "MQ-7001": Entry(
        en=("what is saved there does not fit: {reason}", "{todo}"),
        zh=("那里保存的内容与此不符：{reason}", "{todo}"),
    ),
    # -- 8xxx: refused for safety -------------------------------------------------------------------------------
    "MQ-8001": Entry(
        en=("refused: {reason}", "take the file from a source you trust, or make it again with maquette"),
        zh=("已拒绝：{reason}", "请从可信来源获取该文件，或用 maquette 重新生成"),
    ),
    "MQ-8002": Entry(
        en=("the content filter did not allow this item; it was not written", "change the request, or the filter"),
        zh=("内容过滤器未放行此项；没有写入", "请修改请求或过滤器"),
    ),
}
