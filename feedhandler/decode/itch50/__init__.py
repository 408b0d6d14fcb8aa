"""Nasdaq TotalView-ITCH 5.0: what is on the wire, and what it means to a book. Documents: SOURCES.md."""

from feedhandler.decode.spec import (
    REST,
    ById,
    Choice,
    Clock,
    Directory,
    Equal,
    Event,
    Message,
    Protocol,
    alpha,
    char,
    price,
    u16,
    u32,
    u48,
    u64,
)

PRICE4 = price(4, decimals=4, maximum=0x77359400)  # at most 200,000.0000
PRICE8 = price(8, decimals=8)
HEADER = (("locate", u16), ("tracking", u16), ("timestamp", u48))  # ns since midnight, exchange time
SIDE = {"B": "B", "S": "A"}  # theirs to ours
SYSTEM_EVENT = {"O": "PRE_OPEN", "S": "PRE_OPEN", "Q": "TRADING", "M": "TRADING", "E": "CLOSED", "C": "CLOSED"}
TRADING_STATE = {"H": "HALTED", "P": "PAUSED", "Q": "QUOTE_ONLY", "T": "TRADING"}
HALT_ACTION = {"H": "HALTED", "T": "TRADING"}

ADD = Event("A", order_id="order_id", side=Choice("side", SIDE), size="shares", price="price")
FILL = Event("F", order_id="order_id", size="executed_shares")
PART = Event("C", order_id="order_id", size="executed_shares")

PROTOCOL = Protocol(
    name="itch50",
    title="Nasdaq TotalView-ITCH 5.0",
    byte_order="big",
    framing="moldudp64",
    book="orders",
    venue="XNAS",
    clock=Clock("timestamp", since="midnight", zone="America/New_York"),
    instrument=ById("locate", symbol="stock"),
    market_hours=("Q", "M"),
    messages=(
        Message(
            "S",
            12,
            "system_event",
            section="System Event Message",
            fields=(*HEADER, ("event_code", char)),  # O S Q M E C
            event=Event("S", size=Choice("event_code", SYSTEM_EVENT, otherwise="UNKNOWN"), whole_channel=True),
        ),
        Message(
            "R",
            39,
            "stock_directory",
            section="Stock Related Messages: Stock Directory",
            fields=(
                *HEADER,
                ("stock", alpha(8)),
                ("market_category", char),  # Q G S Nasdaq tiers, N NYSE, A American, P Arca, Z BATS, V IEX
                ("financial_status", char),
                ("round_lot_size", u32),
                ("round_lots_only", char),
                ("issue_classification", char),
                ("issue_sub_type", alpha(2)),
                ("authenticity", char),  # P live, T test
                ("short_sale_threshold", char),
                ("ipo_flag", char),
                ("luld_tier", char),
                ("etp_flag", char),
                ("etp_leverage_factor", u32),
                ("inverse_indicator", char),
            ),
            directory=Directory(lot="round_lot_size", test=Equal("authenticity", "T")),
        ),
        Message(
            "H",
            25,
            "stock_trading_action",
            section="Stock Related Messages: Stock Trading Action",
            fields=(
                *HEADER,
                ("stock", alpha(8)),
                ("trading_state", char),  # H halted, P paused, Q quotation only, T trading
                ("reserved", char),
                ("reason", alpha(4)),
            ),
            event=Event("S", size=Choice("trading_state", TRADING_STATE, otherwise="UNKNOWN")),
        ),
        Message(
            "Y",
            20,
            "reg_sho_restriction",
            section="Stock Related Messages: Reg SHO Short Sale Price Test Restricted Indicator",
            fields=(*HEADER, ("stock", alpha(8)), ("reg_sho_action", char)),  # 0 none, 1 in effect, 2 remains
        ),
        Message(
            "L",
            26,
            "market_participant_position",
            section="Stock Related Messages: Market Participant Position",
            fields=(
                *HEADER,
                ("mpid", alpha(4)),
                ("stock", alpha(8)),
                ("primary_market_maker", char),
                ("market_maker_mode", char),
                ("participant_state", char),
            ),
        ),
        Message(
            "V",
            35,
            "mwcb_decline_level",
            section="Stock Related Messages: MWCB Decline Level Message",
            fields=(*HEADER, ("level_1", PRICE8), ("level_2", PRICE8), ("level_3", PRICE8)),
        ),
        Message(
            "W",
            12,
            "mwcb_status",
            section="Stock Related Messages: MWCB Status Message",
            fields=(*HEADER, ("breached_level", char)),
        ),
        Message(
            "K",
            28,
            "quoting_period_update",
            section="Stock Related Messages: Quoting Period Update (IPO)",
            fields=(
                *HEADER,
                ("stock", alpha(8)),
                ("release_time", u32),  # seconds since midnight
                ("qualifier", char),  # A anticipated, C cancelled or postponed
                ("ipo_price", PRICE4),
            ),
        ),
        Message(
            "J",
            35,
            "luld_auction_collar",
            section="Stock Related Messages: Limit Up Limit Down (LULD) Auction Collar",
            fields=(
                *HEADER,
                ("stock", alpha(8)),
                ("reference_price", PRICE4),
                ("upper_collar", PRICE4),
                ("lower_collar", PRICE4),
                ("extension", u32),
            ),
        ),
        Message(
            "h",
            21,
            "operational_halt",
            section="Stock Related Messages: Operational Halt",
            fields=(*HEADER, ("stock", alpha(8)), ("market_code", char), ("halt_action", char)),  # H halted, T lifted
            event=Event("S", size=Choice("halt_action", HALT_ACTION, otherwise="UNKNOWN"), venue=True),
        ),
        Message(
            "A",
            36,
            "add_order",
            section="Add Order Messages: No MPID Attribution",
            fields=(
                *HEADER,
                ("order_id", u64),
                ("side", char),
                ("shares", u32),
                ("stock", alpha(8)),
                ("price", PRICE4),
            ),
            event=ADD,
        ),
        Message(
            "F",
            40,
            "add_order_mpid",
            section="Add Order Messages: With MPID Attribution",
            fields=(
                *HEADER,
                ("order_id", u64),
                ("side", char),
                ("shares", u32),
                ("stock", alpha(8)),
                ("price", PRICE4),
                ("attribution", alpha(4)),
            ),
            event=ADD,
        ),
        Message(
            "E",
            31,
            "order_executed",
            section="Modify Order Messages: Order Executed Message",
            fields=(*HEADER, ("order_id", u64), ("executed_shares", u32), ("match_number", u64)),
            event=(Event("T", order_id="match_number", size="executed_shares"), FILL, PART),
        ),
        Message(
            "C",
            36,
            "order_executed_with_price",
            section="Modify Order Messages: Order Executed With Price Message",
            fields=(
                *HEADER,
                ("order_id", u64),
                ("executed_shares", u32),
                ("match_number", u64),
                ("printable", char),
                ("execution_price", PRICE4),
            ),
            event=(
                Event(
                    "T",
                    order_id="match_number",
                    size="executed_shares",
                    price="execution_price",
                    when=Equal("printable", "Y"),
                ),
                Event("F", order_id="order_id", size="executed_shares", price="execution_price"),
                PART,
            ),
        ),
        Message(
            "X",
            23,
            "order_cancel",
            section="Modify Order Messages: Order Cancel Message",
            fields=(*HEADER, ("order_id", u64), ("cancelled_shares", u32)),
            event=Event("C", order_id="order_id", size="cancelled_shares"),
        ),
        Message(
            "D",
            19,
            "order_delete",
            section="Modify Order Messages: Order Delete Message",
            fields=(*HEADER, ("order_id", u64)),
            event=Event("C", order_id="order_id", size=REST),
        ),
        Message(
            "U",
            35,
            "order_replace",
            section="Modify Order Messages: Order Replace Message",
            fields=(*HEADER, ("original_order_id", u64), ("order_id", u64), ("shares", u32), ("price", PRICE4)),
            event=(
                Event("C", order_id="original_order_id", size=REST),
                Event("A", order_id="order_id", size="shares", price="price"),
            ),
        ),
        Message(
            "P",
            44,
            "trade",
            section="Trade Messages: Trade Message (Non-Cross)",
            fields=(
                *HEADER,
                ("order_id", u64),  # 0 since 2010-12
                ("side", char),  # always B since 2014-07: says nothing
                ("shares", u32),
                ("stock", alpha(8)),
                ("price", PRICE4),
                ("match_number", u64),
            ),
            event=Event("T", order_id="match_number", size="shares", price="price"),
        ),
        Message(
            "Q",
            40,
            "cross_trade",
            section="Trade Messages: Cross Trade Message",
            fields=(
                *HEADER,
                ("shares", u64),
                ("stock", alpha(8)),
                ("cross_price", PRICE4),
                ("match_number", u64),
                ("cross_type", char),  # O opening, C closing, H halt or IPO
            ),
            event=Event("T", order_id="match_number", size="shares", price="cross_price"),
        ),
        Message(
            "B",
            19,
            "broken_trade",
            section="Trade Messages: Broken Trade / Order Execution Message",
            fields=(*HEADER, ("match_number", u64)),
            event=Event("N", order_id="match_number"),
        ),
        Message(
            "I",
            50,
            "net_order_imbalance",
            section="Net Order Imbalance Indicator (NOII) Message",
            fields=(
                *HEADER,
                ("paired_shares", u64),
                ("imbalance_shares", u64),
                ("imbalance_direction", char),  # B S N O P
                ("stock", alpha(8)),
                ("far_price", PRICE4),
                ("near_price", PRICE4),
                ("current_reference_price", PRICE4),
                ("cross_type", char),
                ("price_variation", char),
            ),
        ),
        Message(
            "N",
            20,
            "retail_interest",
            section="Retail Price Improvement Indicator (RPII)",
            fields=(*HEADER, ("stock", alpha(8)), ("interest_flag", char)),  # B S A N
        ),
        Message(
            "O",
            48,
            "direct_listing_price_discovery",
            section="Direct Listing with Capital Raise Price Discovery Message",
            fields=(
                *HEADER,
                ("stock", alpha(8)),
                ("open_eligibility", char),
                ("minimum_price", PRICE4),
                ("maximum_price", PRICE4),
                ("near_execution_price", PRICE4),
                ("near_execution_time", u64),
                ("lower_collar", PRICE4),
                ("upper_collar", PRICE4),
            ),
        ),
    ),
)

read = PROTOCOL.read
