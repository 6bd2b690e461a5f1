"""The vocabulary of the made-up data."""

PROVIDERS = ("kestrel", "northlight", "quillwork")
NATIVE_BATCHES = "northlight"
"""The provider that takes several items in one call."""

CUSTOMERS = (
    "Aldermoor Rail", "Bexhill Foods", "Castlegate Bank", "Dunmore Energy", "Eastfold Clinics", "Fernway Retail",
    "Glenrock Steel",
)  # fmt: skip

FIRST_NAMES = (
    "Amara", "Bruno", "Chiara", "Daniel", "Elif", "Farah", "Grace", "Hugo", "Ines", "Jakub", "Keiko", "Liam",
    "Maëlle", "Noah", "Olga", "Priya", "Quentin", "Rosa", "Søren", "Tomás", "Uma", "Viktor", "Wanjiru", "Xin",
    "Yusuf", "Zoë",
)  # fmt: skip
LAST_NAMES = (
    "Abara", "Bergström", "Castillo", "Dubois", "Eriksen", "Fischer", "García", "Haddad", "Ivanova", "Jansen",
    "Kowalski", "Lindqvist", "Moreau", "Nakamura", "O'Neill", "Petrov", "Quispe", "Rossi", "Šimić", "Tanaka",
    "Ueda", "van Dijk", "Weber", "Xu", "Yilmaz", "Zhang",
)  # fmt: skip
TEAMS = ("Field Service", "Finance", "People", "Plant 4", "Research", "Sales EMEA", "Support")

TOPICS = (
    "Accessible Design", "Active Listening", "Budget Planning", "Cloud Cost Control", "Code Review",
    "Conflict Resolution", "Data Privacy", "Fire Safety", "First Aid at Work", "Forklift Operation",
    "Giving Feedback", "Incident Response", "Interview Skills", "Kanban in Practice", "Lean Basics",
    "Machine Guarding", "Negotiation", "Phishing Awareness", "Public Speaking", "Python for Analysts",
    "Quality Audits", "Remote Teamwork", "Risk Assessment", "SQL Foundations", "Safe Lifting",
    "Statistical Thinking", "Supplier Ethics", "Time Management", "Wellbeing at Work", "Working at Height",
)  # fmt: skip
STAGES = ("Essentials", "in Depth", "for Team Leads", "Refresher", "Workshop", "Assessment")
SENTENCES = (
    "Short lessons with an exercise after each.",
    "What the rules ask for, and why they are there.",
    "Worked examples from three sites; bring one of your own.",
    "Ends with a test of twelve questions. “Pass” is nine.",
)

CONTENT_TYPES = (
    ("video", "VID"), ("quiz", "QUIZ"), ("document", "PDF"), ("audio", "POD"), ("article", "ART"),
    ("unmapped_value", "SCORM"),
)  # fmt: skip
LANGUAGES = (
    ("en_GB", "English (UK)"), ("en_US", "English (US)"), ("de_DE", "Deutsch"), ("fr_FR", "Français"),
    ("es_ES", "Español"), ("ja_JP", "日本語"), ("bs-ME", "bosanski"), ("unmapped_value", "Esperanto"),
)  # fmt: skip
CATEGORIES = (
    ("Compliance", "primary"), ("Health and Safety", "primary"), ("Leadership", "primary"),
    ("Technology", "primary"), ("Data Protection", "secondary"), ("Fire and Evacuation", "secondary"),
    ("Coaching", "secondary"),
    ("Analytics", "secondary"), ("Cloud", "secondary"), ("Records Retention", "tertiary"),
    ("Dashboards", "tertiary"), ("Seasonal", "unmapped_value"),
)  # fmt: skip
SKILLS = (
    "Auditing", "Budgeting", "Coaching", "Data Analysis", "Decision Making", "Drafting", "Estimation",
    "Facilitation", "First Aid", "Forecasting", "Hiring", "Inspection", "Listening", "Mentoring", "Modelling",
    "Negotiating", "Planning", "Presenting", "Programming", "Prioritising", "Reporting", "Risk Analysis",
    "Scheduling", "Teaching", "Testing", "Troubleshooting", "Welding", "Writing",
)  # fmt: skip
TAGS = ("mandatory", "new hire", "yearly", "on site", "self-paced", "elective")

PASSES = ("PASSED", "P", True, 1)
FAILS = ("FAILED", "F", False, 0)
OTHER_RESULTS = ("ATTENDED", 7, {"code": "WAIVED", "by": "manager"}, ["EXEMPT", "2024"], "PENDING REVIEW")
