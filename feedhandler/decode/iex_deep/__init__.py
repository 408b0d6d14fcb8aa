"""IEX DEEP 1.0: price levels, trades and statuses. Documents: SOURCES.md."""

from feedhandler.decode.spec import (
    Bit,
    BySymbol,
    Choice,
    Clock,
    Directory,
    Event,
    Message,
    Protocol,
    alpha,
    char,
    i64,
    price,
    u8,
    u32,
)

PRICE = price(8, decimals=4, signed=True)
STAMP = ("timestamp", i64)  # ns since the Unix epoch
SYMBOL = ("symbol", alpha(8))
SYSTEM_EVENT = {"O": "PRE_OPEN", "S": "PRE_OPEN", "R": "TRADING", "M": "TRADING", "E": "CLOSED", "C": "CLOSED"}
TRADING_STATUS = {"H": "HALTED", "O": "QUOTE_ONLY", "P": "PAUSED", "T": "TRADING"}
HALT_STATUS = {"O": "HALTED", "N": "TRADING"}

LEVEL = (("event_flags", u8), STAMP, SYMBOL, ("size", u32), ("price", PRICE))
WHOLE = Bit("event_flags", 0x01)  # the last update of its event: the book is consistent after it
TRADE = (("sale_condition", u8), STAMP, SYMBOL, ("size", u32), ("price", PRICE), ("trade_id", i64))

PROTOCOL = Protocol(
    name="iex_deep",
    title="IEX DEEP 1.0",
    byte_order="little",
    framing="iextp",
    framing_options={"protocol_id": 0x8004},
    market_hours=("R", "M"),
    book="levels",
    venue="IEXG",
    clock=Clock("timestamp", since="epoch", zone="America/New_York"),
    instrument=BySymbol("symbol"),
    messages=(
        Message(
            "S",
            10,
            "system_event",
            section="Administrative Message Formats: System Event Message",
            fields=(("system_event", char), STAMP),
            event=Event("S", size=Choice("system_event", SYSTEM_EVENT, otherwise="UNKNOWN"), whole_channel=True),
        ),
        Message(
            "D",
            31,
            "security_directory",
            section="Administrative Message Formats: Security Directory Message",
            fields=(
                ("flags", u8),  # 0x80 test security, 0x40 when issued, 0x20 ETP
                STAMP,
                SYMBOL,
                ("round_lot_size", u32),
                ("adjusted_poc_price", PRICE),
                ("luld_tier", u8),
            ),
            directory=Directory(lot="round_lot_size", test=Bit("flags", 0x80)),
        ),
        Message(
            "H",
            22,
            "trading_status",
            section="Administrative Message Formats: Trading Status Message",
            fields=(("trading_status", char), STAMP, SYMBOL, ("reason", alpha(4))),
            event=Event("S", size=Choice("trading_status", TRADING_STATUS, otherwise="UNKNOWN")),
        ),
        Message(
            "I",
            18,
            "retail_liquidity_indicator",
            section="Administrative Message Formats: Retail Liquidity Indicator Message",
            fields=(("retail_liquidity_indicator", char), STAMP, SYMBOL),
        ),
        Message(
            "O",
            18,
            "operational_halt_status",
            section="Administrative Message Formats: Operational Halt Status Message",
            fields=(("operational_halt_status", char), STAMP, SYMBOL),
            event=Event("S", size=Choice("operational_halt_status", HALT_STATUS, otherwise="UNKNOWN"), venue=True),
        ),
        Message(
            "P",
            19,
            "short_sale_price_test_status",
            section="Administrative Message Formats: Short Sale Price Test Status Message",
            fields=(("short_sale_price_test_status", u8), STAMP, SYMBOL, ("detail", char)),
        ),
        Message(
            "E",
            18,
            "security_event",
            section="Administrative Message Formats: Security Event Message",
            fields=(("security_event", char), STAMP, SYMBOL),  # O, C: the auction is over; the status is H's to say
        ),
        Message(
            "8",
            30,
            "price_level_buy_update",
            section="Trading Message Formats: Price Level Update Message",
            fields=LEVEL,
            event=Event("M", side="B", size="size", price="price", level=True, last=WHOLE),
        ),
        Message(
            "5",
            30,
            "price_level_sell_update",
            section="Trading Message Formats: Price Level Update Message",
            fields=LEVEL,
            event=Event("M", side="A", size="size", price="price", level=True, last=WHOLE),
        ),
        Message(
            "T",
            38,
            "trade_report",
            section="Trading Message Formats: Trade Report Message",
            fields=TRADE,
            event=Event("T", order_id="trade_id", size="size", price="price"),
        ),
        Message(
            "X",
            26,
            "official_price",
            section="Trading Message Formats: Official Price Message",
            fields=(("price_type", char), STAMP, SYMBOL, ("official_price", PRICE)),
        ),
        Message(
            "B",
            38,
            "trade_break",
            section="Trading Message Formats: Trade Break Message",
            fields=TRADE,
            event=Event("N", order_id="trade_id", size="size", price="price"),
        ),
        Message(
            "A",
            80,
            "auction_information",
            section="Auction Message Formats: Auction Information Message",
            fields=(
                ("auction_type", char),
                STAMP,
                SYMBOL,
                ("paired_shares", u32),
                ("reference_price", PRICE),
                ("indicative_clearing_price", PRICE),
                ("imbalance_shares", u32),
                ("imbalance_side", char),
                ("extension_number", u8),
                ("scheduled_auction_time", u32),  # seconds since the Unix epoch
                ("auction_book_clearing_price", PRICE),
                ("collar_reference_price", PRICE),
                ("lower_auction_collar", PRICE),
                ("upper_auction_collar", PRICE),
            ),
        ),
    ),
)

read = PROTOCOL.read
