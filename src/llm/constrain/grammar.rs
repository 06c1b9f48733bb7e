//! The grammar of a class body: Lark text for `llguidance`, made from templates, one set of rules per depth.
//!
//! Python's blocks are told apart by white space, which no context-free grammar counts; with four spaces a level and
//! at most [`DEPTHS`] levels it is finite, and each level's line end is a terminal of its own. Expressions come twice:
//! inside brackets, line ends are white space. The grammar asks for a `forward`, and knows nothing of names and shapes.
//! Limit: it lets a few texts through that Python refuses (`f(x) = 1`, `a inb`), which the check of whole lines finds,
//! and refuses a few that Python takes (tabs, other indentations, `async`, `yield`, `:=`, names beyond ASCII).

/// Levels of indentation: the class body is the first.
const DEPTHS: usize = 6;

/// Words that are no names.
const KEYWORDS: &str = "and|as|assert|async|await|break|class|continue|def|del|elif|else|except|finally|for|from|\
                        global|if|import|in|is|lambda|nonlocal|not|or|pass|raise|return|try|while|with|yield";

/// White space inside brackets.
const SPACE: &str = r"([ \t\n]|#[^\n]*\n)*";

/// Rules that stand once.
const COMMON: &str = r##"
start: FIRST (member N1)* forward (N1 member)* end
end: (N0 REST?)?
N0: /([ \t]*(#[^\n]*)?\n)+/
FIRST: /([ \t]*(#[^\n]*)?\n)* {4}/
REST: /[^ \t\n#](.|\n)*/
%ignore / +/
NAME: /[A-Za-z_][A-Za-z0-9_]*/ & ~/KEYWORDS/
OTHER: /[A-Za-z_][A-Za-z0-9_]*/ & ~/KEYWORDS|forward/
NUMBER: /([0-9][0-9_]*(\.[0-9_]*)?|\.[0-9][0-9_]*)([eE][+-]?[0-9]+)?|0[xX][0-9a-fA-F]+/
STRING: /[rRbBfFuU]?[rRbBfF]?("([^"\\\n]|\\.)*"|'([^'\\\n]|\\.)*')/
LONG: /[rRbBfFuU]?[rRbBfF]?("""([^"\\]|\\(.|\n)|"[^"\\]|""[^"\\])*"""|'''([^'\\]|\\(.|\n)|'[^'\\]|''[^'\\])*''')/
OPEN: /\(SPACE/
CLOSE: /SPACE\)/
OPENS: /\[SPACE/
CLOSES: /SPACE\]/
OPENB: /\{SPACE/
CLOSEB: /SPACE\}/
member: decorator* define | simple
decorator: "@" primary N1
forward: decorator* "def" "forward" signature N2 block2
define: "def" OTHER signature (N2 block2 | simple)
signature: OPEN (parameters COMMA_B? )? CLOSE ("->" expr)? ":"
parameters: parameter (COMMA_B parameter)*
parameter: NAME (":" expr_b)? (ASSIGN_B expr_b)? | "*" (NAME (":" expr_b)?)? | "**" NAME (":" expr_b)? | "/"
simple: small (";" small)* ";"?
small: items ("=" items)* | primary ":" expr ("=" items)? | primary AUGMENTED items
    | "return" items? | "pass" | "break" | "continue" | "raise" (expr ("from" expr)?)? | "assert" expr ("," expr)?
    | "del" items | ("global" | "nonlocal") NAME ("," NAME)*
    | "import" dotted ("as" NAME)? ("," dotted ("as" NAME)?)*
    | "from" dotted "import" ("*" | NAME ("as" NAME)? ("," NAME ("as" NAME)?)*)
dotted: NAME ("." NAME)*
AUGMENTED: /(\+|-|\*\*?|\/\/?|%|@|&|\||\^|<<|>>)=/
items: item ("," item)* ","?
item: expr | "*" expr
targets: target ("," target)* ","?
target: primary | "*" primary
"##;

/// Rules of expressions; `@` and `§` mark those of one kind, `SPACE` is what may stand around operators.
const EXPRESSION: &str = r##"
expr@: either@ (IF§ either@ ELSE§ expr@)? | "lambda" plain? ":" expr@
either@: refused@ (AND_OR§ refused@)*
refused@: NOT§* compared@
compared@: sum@ ((COMPARE§ | IS§ NOT§? | NOT§ IN§) sum@)*
sum@: signed@ (OPERATOR§ signed@)*
signed@: SIGN§* primary@
primary@: atom trailer@*
trailer@: DOT§ NAME | OPEN (argument (COMMA_B argument)* COMMA_B?)? CLOSE
    | OPENS subscript (COMMA_B subscript)* COMMA_B? CLOSES
IF§: /SPACEifSPACE/
ELSE§: /SPACEelseSPACE/
AND_OR§: /SPACE(and|or)SPACE/
NOT§: /SPACEnotSPACE/
IS§: /SPACEisSPACE/
IN§: /SPACEinSPACE/
COMPARE§: /SPACE(==|!=|<=?|>=?|in)SPACE/
OPERATOR§: /SPACE(\+|-|\*\*?|\/\/?|%|\x40|&|\||\^|<<|>>)SPACE/
SIGN§: /[-+~]SPACE/
DOT§: /SPACE\.SPACE/
"##;

/// What stands in brackets, once.
const BRACKETS: &str = r##"
COMMA_B: /SPACE,SPACE/
COLON_B: /SPACE:SPACE/
ASSIGN_B: /SPACE=SPACE/
FOR_B: /SPACEforSPACE/
atom: NAME | NUMBER | strings | "..." | OPEN listed? CLOSE | OPENS listed? CLOSES
    | OPENB (entry (comprehend+ | (COMMA_B entry)* COMMA_B?))? CLOSEB
strings: (STRING | LONG)+
listed: element comprehend+ | element (COMMA_B element)* COMMA_B?
element: expr_b | "*" expr_b
entry: expr_b (COLON_B expr_b)? | "**" expr_b
comprehend: FOR_B bound (COMMA_B bound)* IN_B either_b (IF_B either_b)*
bound: NAME | OPEN bound (COMMA_B bound)* COMMA_B? CLOSE
argument: NAME ASSIGN_B expr_b | expr_b comprehend* | "*" expr_b | "**" expr_b
subscript: expr_b | expr_b? COLON_B expr_b? (COLON_B expr_b?)?
plain: plainly ("," plainly)*
plainly: NAME ("=" expr)? | "*" NAME | "**" NAME
"##;

/// Rules of blocks at level `$`; `<` stands for the next level.
const BLOCK: &str = r##"
N$: /([ \t]*(#[^\n]*)?\n)+ {WIDTH}/
block$: statement$ (N$ statement$)*
statement$: simple | "if" expr suite$ (N$ "elif" expr suite$)* (N$ "else" suite$)?
    | "for" targets "in" items suite$ (N$ "else" suite$)?
    | "while" expr suite$ (N$ "else" suite$)?
    | "with" expr ("as" target)? ("," expr ("as" target)?)* suite$
    | "try" suite$ (handler$+ (N$ "else" suite$)? (N$ "finally" suite$)? | N$ "finally" suite$)
    | "def" NAME signature (N< block< | simple)
handler$: N$ "except" (expr ("as" NAME)?)? suite$
suite$: ":" (N< block< | simple)
"##;

/// Rules of the deepest blocks.
const INNERMOST: &str = r##"
N$: /([ \t]*(#[^\n]*)?\n)+ {WIDTH}/
block$: simple (N$ simple)*
"##;

/// The whole grammar.
pub(super) fn class_body() -> String {
    let mut text = COMMON.replace("KEYWORDS", KEYWORDS).replace("SPACE", SPACE);
    // Outside of brackets the ignored spaces do: a terminal that began with them would hide `=` behind `==`.
    text.push_str(&EXPRESSION.replace(['@', '§'], "").replace("SPACE", ""));
    text.push_str(&EXPRESSION.replace('@', "_b").replace('§', "_B").replace("SPACE", SPACE));
    text.push_str(&BRACKETS.replace("SPACE", SPACE));
    text.push_str("N1: /([ \\t]*(#[^\\n]*)?\\n)+ {4}/\n");
    for depth in 2..=DEPTHS {
        let rules = if depth == DEPTHS { INNERMOST } else { BLOCK };
        let rules = rules.replace('$', &depth.to_string()).replace('<', &(depth + 1).to_string());
        text.push_str(&rules.replace("WIDTH", &(4 * depth).to_string()));
    }
    text
}
